//! Cassandra, from a script of pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::cql::Cql;

fuzz_target!(|data: &[u8]| taproot_fuzz::drive::<Cql>(data));
