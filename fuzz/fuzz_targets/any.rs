//! Whatever is spoken, from a script of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::any::Any;

fuzz_target!(|data: &[u8]| taproot_fuzz::drive::<Any>(data));
