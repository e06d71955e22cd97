//! Recordings of any bytes: an end or an error, never a panic, never much memory.
//!
//! Input that begins with the mark of a recording is read as it is; anything else
//! is a script of frames (`kind, length` and that many bytes of payload), which
//! are given right checksums, so that what is behind them is reached too.
//!
//! The store's SQLite is linked in, unused, and its C globals look to the address
//! sanitizer as if they were defined twice; that check is switched off:
//!
//! `ASAN_OPTIONS=detect_odr_violation=0 cargo +nightly fuzz run recording
//! fuzz/corpus/recording crates/store/tests/golden -- -malloc_limit_mb=64`
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_store::RecordingError;
use taproot_store::recording::{Ending, FORMAT, Header, MARK, RecordingReader};

fn framed(mut data: &[u8]) -> Vec<u8> {
    let mut out = Vec::from(MARK);
    out.extend(FORMAT.to_le_bytes());
    // A script that begins with another kind than a header gets a sound one.
    if data.first().is_none_or(|kind| kind % 4 != 1) {
        let header = rmp_serde::to_vec_named(&Header::default()).expect("a header encodes");
        out.extend(frame(1, &header));
    }
    while let [kind, low, high, rest @ ..] = data {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (payload, after) = rest.split_at(length.min(rest.len()));
        out.extend(frame(u32::from(kind % 4), payload));
        data = after;
    }
    out
}

fn frame(kind: u32, payload: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(payload);
    let words = [kind, packed.len() as u32, payload.len() as u32, crc32fast::hash(&packed)];
    let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out.extend(packed);
    out
}

fn read(bytes: &[u8]) {
    let Ok(mut reader) = RecordingReader::new(bytes) else { return };
    let (mut given, mut failed) = (0, None);
    for signal in &mut reader {
        assert!(failed.is_none(), "nothing comes after an error");
        match signal {
            Ok(_) => given += 1,
            Err(error) => failed = Some(error),
        }
    }
    match (failed, reader.ending()) {
        (None, Some(Ending::Complete { signals } | Ending::Interrupted { signals, .. })) => {
            assert_eq!(signals, given);
        }
        (Some(RecordingError::Corrupt { offset, signals, .. }), None) => {
            assert_eq!(signals, given);
            assert!(offset <= bytes.len() as u64);
        }
        (failed, ending) => panic!("{failed:?} and {ending:?}"),
    }
}

fuzz_target!(|data: &[u8]| {
    if data.starts_with(&MARK) { read(data) } else { read(&framed(data)) }
});
