//! HTTP/1 over both directions of a connection, from a script of pieces.
//!
//! Each step is `kind, length` and that many bytes. A whole stream (no loss) is
//! also fed byte by byte and must give the same records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::http1::{Answer, Http1, Record};
use taproot_protocols::stream::Limits;
use taproot_protocols::{Connection, Piece, Side};

struct Step<'a> {
    side: Side,
    missing: u64,
    length: u64,
    bytes: &'a [u8],
}

fn steps(mut data: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    while let [kind, length, rest @ ..] = data {
        let (bytes, after) = rest.split_at((*length as usize).min(rest.len()));
        data = after;
        let side = if kind & 1 == 0 { Side::Client } else { Side::Server };
        let missing = if kind & 6 == 6 { u64::from(kind >> 3) } else { 0 };
        let cut = if kind & 24 == 24 { u64::from(kind >> 5) * 100 } else { 0 };
        steps.push(Step { side, missing, length: bytes.len() as u64 + cut, bytes });
    }
    steps
}

fn run(steps: &[Step<'_>], late: bool, size: usize) -> Vec<Record> {
    let limits = Limits::default();
    let mut connection = if late {
        Connection::joined_late(Http1::default(), limits)
    } else {
        Connection::from_start(Http1::default(), limits)
    };
    let (mut records, mut at) = (Vec::new(), [0_u64; 2]);
    for (index, step) in steps.iter().enumerate() {
        let time = index as u64 * 50_000_000;
        let position = &mut at[step.side as usize];
        *position += step.missing;
        let hole = step.length - step.bytes.len() as u64;
        for bytes in step.bytes.chunks(size) {
            let length = bytes.len() as u64;
            let piece = Piece { position: *position, length, bytes, time };
            connection.push(step.side, piece, &mut records);
            *position += length;
        }
        if hole > 0 {
            let piece = Piece { position: *position, length: hole, bytes: &[], time };
            connection.push(step.side, piece, &mut records);
            *position += hole;
        }
        assert!(connection.memory() < 4 << 20, "memory is bounded");
    }
    let end = steps.len() as u64 * 50_000_000;
    connection.close(Side::Client, end, &mut records);
    connection.close(Side::Server, end, &mut records);
    records
}

fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let steps = steps(data);
    let late = first & 1 == 1;
    let whole = run(&steps, late, usize::MAX);
    for record in &whole {
        if let Record::Exchange(one) = record {
            assert!(!one.request.path.contains(['?', '#']), "queries are never kept");
            if let Answer::Response(response) = &one.answer {
                assert!((100..1000).contains(&response.status));
                let start = one.times.response_start.expect("an answer has a start");
                assert!(start >= one.times.request_start, "no answer before its request");
            }
        }
    }
    // A place is lost to the end of a piece, so only streams that lose nothing
    // are the same at any cut.
    let plain = steps.iter().all(|step| step.missing == 0 && step.length == step.bytes.len() as u64);
    let told = |records: &[Record]| -> Vec<_> {
        records
            .iter()
            .filter_map(|record| match record {
                Record::Exchange(one) => Some((one.request.path.clone(), one.complete)),
                Record::Orphan(_) => None,
            })
            .collect()
    };
    if plain && !late && !told(&whole).is_empty() && told(&whole).iter().all(|(_, whole)| *whole) {
        let bytes: u64 = steps.iter().map(|step| step.length).sum();
        let used = whole.len();
        let again = run(&steps, late, 1);
        assert!(again.len() <= used + bytes as usize / 16, "cutting makes no messages");
    }
});
