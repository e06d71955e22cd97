//! TLS handshakes, from a script of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::tls::Tls;

fuzz_target!(|data: &[u8]| taproot_fuzz::drive::<Tls>(data));
