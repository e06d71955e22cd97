//! Recordings: what goes in comes out, and no damage goes unseen or panics.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

mod common;

use common::{any_signal, at, entity, flow, happenings, loss, metric, requests};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use taproot_model::{MetricKind, Signal, Stage, Stages};
use taproot_store::RecordingError;
use taproot_store::recording::{
    Ending, FORMAT, FORMATS, FRAME_LIMIT, Header, MARK, RecordingReader, RecordingWriter,
};
use tempfile::TempDir;

fn header() -> Header {
    Header {
        agent_version: "0.1.0".into(),
        node: "a".into(),
        clock_offset: -7,
        started: at(0),
        scope: "ns:shop".into(),
    }
}

fn signals() -> Vec<Signal> {
    vec![entity("container:gateway"), flow(at(1), 9), requests(at(2), 3), loss(at(3), 1)]
}

/// A recording of [`signals`] in two batches, finished or not.
fn record(folder: &TempDir, finish: bool) -> PathBuf {
    let path = folder.path().join("r.taproot");
    let mut writer = RecordingWriter::create(&path, &header()).unwrap();
    writer.write(&signals()[..3]).unwrap();
    writer.write(&signals()[3..]).unwrap();
    assert_eq!(writer.signals(), 4);
    assert_eq!(writer.bytes(), fs::metadata(&path).unwrap().len());
    if finish {
        writer.finish().unwrap();
    }
    path
}

type Read = (Vec<Signal>, Option<RecordingError>, Option<Ending>);

/// Reads bytes as a recording until it ends or fails.
fn read(bytes: &[u8]) -> Read {
    let mut reader = match RecordingReader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error), None),
    };
    let (mut out, mut failed) = (Vec::new(), None);
    for signal in &mut reader {
        match signal {
            Ok(signal) => out.push(signal),
            Err(error) => failed = Some(error),
        }
    }
    (out, failed, reader.ending())
}

#[test]
fn gives_back_what_was_written() {
    let folder = TempDir::new().unwrap();
    let mut reader = RecordingReader::open(&record(&folder, true)).unwrap();
    assert_eq!(reader.header(), &header());
    let back: Result<Vec<_>, _> = reader.by_ref().collect();
    assert_eq!(back.unwrap(), signals());
    assert_eq!(reader.ending(), Some(Ending::Complete { signals: 4 }));
}

#[test]
fn a_writer_that_was_killed_leaves_everything_it_wrote() {
    let folder = TempDir::new().unwrap();
    let (back, failed, ending) = read(&fs::read(record(&folder, false)).unwrap());
    assert_eq!(back, signals());
    assert!(failed.is_none());
    let ending = ending.unwrap();
    assert_eq!(ending, Ending::Interrupted { signals: 4, last: Some(at(3)) });
    assert_eq!(
        ending.to_string(),
        "recording ends after 4 signals at 11:10:03 UTC: the writer was interrupted"
    );
}

#[test]
fn a_tail_torn_at_any_byte_gives_the_whole_batches_before_it() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(record(&folder, true)).unwrap();
    let mut lengths = Vec::new();
    for cut in 0..bytes.len() {
        let (back, failed, ending) = read(&bytes[..cut]);
        assert_eq!(back, signals()[..back.len()], "cut at {cut}");
        match failed {
            Some(RecordingError::NotARecording) => assert_eq!(cut, 0),
            Some(RecordingError::NoHeader) => assert!(back.is_empty(), "cut at {cut}"),
            Some(other) => panic!("cut at {cut}: {other}"),
            None => {
                let want = back.iter().filter_map(Signal::at).max();
                let signals = back.len() as u64;
                assert_eq!(ending, Some(Ending::Interrupted { signals, last: want }));
            }
        }
        lengths.push(back.len());
    }
    lengths.dedup();
    assert_eq!(lengths, [0, 3, 4], "a longer file never gives less");
}

#[test]
fn a_flipped_bit_anywhere_is_seen() {
    let folder = TempDir::new().unwrap();
    let bytes = fs::read(record(&folder, true)).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (back, failed, _) = read(&bad);
        assert_eq!(back, signals()[..back.len()], "bit {bit}: a wrong signal came out");
        assert!(failed.is_some(), "bit {bit}: nobody noticed");
    }
}

#[test]
fn damage_is_named_with_its_place() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fs::read(record(&folder, true)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let (back, failed, ending) = read(&bytes);
    assert_eq!((back.len(), ending), (4, None));
    let Some(error @ RecordingError::Corrupt { offset, .. }) = failed else { panic!("{failed:?}") };
    let text = error.to_string();
    assert!(text.contains("the 4 signals before"), "{text}");
    assert!(text.contains(&format!("head -c {offset} FILE")), "{text}");
    let (back, failed, ending) = read(&bytes[..offset as usize]);
    assert!(failed.is_none(), "what the error advises works");
    assert_eq!(
        (back, ending),
        (signals(), Some(Ending::Interrupted { signals: 4, last: Some(at(3)) }))
    );
}

#[test]
fn bytes_after_the_end_are_no_part_of_it() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fs::read(record(&folder, true)).unwrap();
    bytes.push(0);
    assert!(matches!(read(&bytes).1, Some(RecordingError::Corrupt { .. })));
}

#[test]
fn a_newer_format_says_upgrade() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fs::read(record(&folder, true)).unwrap();
    bytes[MARK.len()..MARK.len() + 4].copy_from_slice(&(FORMAT + 2).to_le_bytes());
    let text = read(&bytes).1.unwrap().to_string();
    let want = format!("format {}, this one reads up to {FORMAT}): upgrade", FORMAT + 2);
    assert!(text.contains(&want), "{text}");
}

#[test]
fn other_files_are_no_recordings() {
    for bytes in [&b""[..], b"x", b"PK\x03\x04", b"TAPROOT recordings are nice"] {
        assert!(matches!(read(bytes).1, Some(RecordingError::NotARecording)), "{bytes:?}");
    }
}

#[test]
fn a_head_that_claims_too_much_is_refused_before_anything_is_reserved() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fs::read(record(&folder, true)).unwrap();
    let head = MARK.len() + 4;
    bytes[head + 8..head + 12].copy_from_slice(&(FRAME_LIMIT as u32 + 1).to_le_bytes());
    let checksum = crc32fast::hash(&bytes[head..head + 16]);
    bytes[head + 16..head + 20].copy_from_slice(&checksum.to_le_bytes());
    let text = read(&bytes).1.unwrap().to_string();
    assert!(text.contains("larger than the limit"), "{text}");
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let folder = TempDir::new().unwrap();
    let path = record(&folder, true);
    let before = fs::read(&path).unwrap();
    let again = RecordingWriter::create(&path, &header());
    assert!(matches!(again, Err(RecordingError::Exists)));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_large_batch_is_split_and_a_too_large_signal_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("large");
    let mut writer = RecordingWriter::create(&path, &header()).unwrap();
    let many = vec![entity(&"x".repeat(100_000)); 300];
    writer.write(&many).unwrap();
    let huge = entity(&"x".repeat(FRAME_LIMIT));
    assert!(matches!(writer.write(&[huge]), Err(RecordingError::TooLarge { .. })));
    writer.finish().unwrap();
    let (back, failed, ending) = read(&fs::read(&path).unwrap());
    assert_eq!(back.len(), 300);
    assert!(failed.is_none());
    assert_eq!(ending, Some(Ending::Complete { signals: 300 }));
}

/// One of each kind, as the golden files hold them.
fn golden() -> Vec<Signal> {
    let mut out = signals();
    out.push(metric(at(4), taproot_model::metric::CPU_TIME, MetricKind::Delta, 0.5));
    out.extend(happenings(at(5)));
    out
}

#[test]
fn every_released_format_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    // A new format adds a file: BLESS=1 cargo test -p taproot-store every_released
    let newest = folder.join(format!("format-{FORMAT}.taproot"));
    if std::env::var_os("BLESS").is_some() && !newest.exists() {
        let mut writer = RecordingWriter::create(&newest, &header()).unwrap();
        writer.write(&golden()).unwrap();
        writer.finish().unwrap();
    }
    for format in FORMATS {
        let (back, failed, _) =
            read(&fs::read(folder.join(format!("format-{format}.taproot"))).unwrap());
        assert!(failed.is_none(), "format {format}: {failed:?}");
        assert_eq!(back, golden(), "format {format}");
    }
}

/// The stages of a request as they were written before there was more to say of them.
#[derive(serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum BeforeQueues {
    Server { receive: Stage, service: Stage, send: u64 },
}

#[test]
fn stages_without_queues_are_read_as_not_seen() {
    let stage = Stage { total: 40, queued: 9, throttled: 30, unknown: 0 };
    let old = BeforeQueues::Server { receive: stage, service: stage, send: 5 };
    let back: Stages = rmp_serde::from_slice(&rmp_serde::to_vec_named(&old).unwrap()).unwrap();
    let (buffer, device, qdisc) = (None, None, None);
    let now = Stages::Server { receive: stage, service: stage, send: 5, buffer, device, qdisc };
    assert_eq!(back, now);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_signals_come_back(signals in prop::collection::vec(any_signal(), 0..20)) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("any");
        let mut writer = RecordingWriter::create(&path, &header()).unwrap();
        writer.write(&signals).unwrap();
        writer.finish().unwrap();
        let (back, failed, _) = read(&fs::read(&path).unwrap());
        prop_assert!(failed.is_none());
        prop_assert_eq!(back, signals);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut start = Vec::from(MARK);
        start.extend(FORMAT.to_le_bytes());
        start.extend(bytes);
        prop_assert!(read(&start).1.is_some());
    }
}
