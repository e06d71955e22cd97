//! DNS over TCP, from a script of pieces, and over UDP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::dns::{Datagrams, Dns};

fuzz_target!(|data: &[u8]| {
    taproot_fuzz::drive::<Dns>(data);
    let (mut tap, mut records) = (Datagrams::default(), Vec::new());
    for (time, datagram) in data.chunks(40).enumerate() {
        tap.push(datagram, datagram.len() as u64, time as u64, &mut records);
    }
    tap.close(&mut records);
    assert!(records.len() <= data.len());
});
