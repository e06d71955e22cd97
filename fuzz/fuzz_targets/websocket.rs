//! WebSocket, from a script of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::websocket::WebSocket;

fuzz_target!(|data: &[u8]| taproot_fuzz::drive::<WebSocket>(data));
