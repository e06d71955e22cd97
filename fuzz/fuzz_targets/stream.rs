//! The byte stream against a plain model: what is delivered is what was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::Piece;
use taproot_protocols::stream::{ByteStream, Limits, Then};

/// The byte that stands at a position of the imagined stream.
fn byte_at(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9) >> 7) as u8
}

fuzz_target!(|data: &[u8]| {
    let limits = Limits { buffered_bytes: 512, held_pieces: 4, held_bytes: 256, patience: 20 };
    let mut stream = ByteStream::from_start(limits);
    for (time, step) in data.chunks_exact(4).enumerate() {
        let position = u64::from(u16::from_le_bytes([step[0], step[1]])) % 2000;
        let length = u64::from(step[2]);
        let copied = length.min(u64::from(step[3] & 63) * 4);
        let bytes: Vec<u8> = (position..position + copied).map(byte_at).collect();
        stream.push(Piece { position, length, bytes: &bytes, time: time as u64 });
        let view = stream.view();
        for (offset, byte) in view.bytes.iter().enumerate() {
            assert_eq!(*byte, byte_at(view.position + offset as u64), "bytes stay in place");
        }
        assert!(view.bytes.len() <= limits.buffered_bytes);
        assert!(stream.memory() < 64 << 10);
        match step[3] >> 6 {
            1 => stream.skip(u64::from(step[0])),
            2 => {
                stream.drop_front();
            }
            _ => {}
        }
    }
    stream.end(data.len() as u64);
    while !stream.is_finished() {
        assert!(stream.drop_front() > 0, "the end is reached");
    }
    assert_eq!(stream.view().then, Then::End);
});
