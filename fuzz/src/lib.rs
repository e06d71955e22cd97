//! Feeds a protocol from a script of pieces.
//!
//! Each step is `kind, length` and that many bytes; the kind says which side wrote
//! them, whether bytes were missed before, and whether more were sent than copied.

use taproot_protocols::any::Record;
use taproot_protocols::stream::Limits;
use taproot_protocols::{Connection, Piece, Protocol, Side};

struct Step<'a> {
    side: Side,
    missing: u64,
    cut: u64,
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
        steps.push(Step { side, missing, cut, bytes });
    }
    steps
}

fn run<P>(steps: &[Step<'_>], late: bool, size: usize) -> Vec<Record>
where
    P: Protocol<Record: Into<Record>> + Default,
{
    let limits = Limits::in_order();
    let mut connection = if late {
        Connection::joined_late(P::default(), limits)
    } else {
        Connection::from_start(P::default(), limits)
    };
    let (mut records, mut at) = (Vec::new(), [0_u64; 2]);
    for (index, step) in steps.iter().enumerate() {
        let time = index as u64 * 50_000_000;
        let position = &mut at[step.side as usize];
        *position += step.missing;
        for bytes in step.bytes.chunks(size) {
            let length = bytes.len() as u64;
            let piece = Piece { position: *position, length, bytes, time };
            connection.push(step.side, piece, &mut records);
            *position += length;
        }
        if step.cut > 0 {
            let piece = Piece { position: *position, length: step.cut, bytes: &[], time };
            connection.push(step.side, piece, &mut records);
            *position += step.cut;
        }
        assert!(connection.memory() < 4 << 20, "memory is bounded");
    }
    let end = steps.len() as u64 * 50_000_000;
    connection.close(Side::Client, end, &mut records);
    connection.close(Side::Server, end, &mut records);
    records.into_iter().map(Into::into).collect()
}

/// Nothing panics, memory and the number of calls are bounded (also when all comes
/// byte by byte), and no answer begins before its request.
pub fn drive<P>(data: &[u8])
where
    P: Protocol<Record: Into<Record>> + Default,
{
    let Some((first, data)) = data.split_first() else { return };
    let steps = steps(data);
    let late = first & 1 == 1;
    let whole = run::<P>(&steps, late, usize::MAX);
    assert!(whole.len() <= data.len(), "no call without a byte");
    for record in &whole {
        let Record::Call(call) = record else { continue };
        assert!(call.times.answer.is_none_or(|answer| answer >= call.times.start));
        assert!(call.operation.len() <= 2048, "operations are bounded");
        assert!(call.statement.as_ref().is_none_or(|statement| statement.len() <= 4096));
        assert!(!call.operation.is_empty(), "a call has an operation");
    }
    let again = run::<P>(&steps, late, 1);
    assert!(again.len() <= data.len(), "cutting makes no messages");
}
