//! Redis, from a script of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::redis::Redis;

fuzz_target!(|data: &[u8]| taproot_fuzz::drive::<Redis>(data));
