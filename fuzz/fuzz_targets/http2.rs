//! Http2, from a script of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::http2::Http2;

fuzz_target!(|data: &[u8]| taproot_fuzz::drive::<Http2>(data));
