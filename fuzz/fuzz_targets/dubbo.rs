//! Dubbo, from a script of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::dubbo::Dubbo;

fuzz_target!(|data: &[u8]| taproot_fuzz::drive::<Dubbo>(data));
