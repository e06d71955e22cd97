//! A tap over a script of writes, and what must hold for every protocol.

use proptest::prelude::*;
use taproot_protocols::stream::Limits;
use taproot_protocols::{Call, Connection, Outcome, Piece, Protocol, Recognition, Side};

pub(crate) use taproot_protocols::Side::{Client, Server};

/// What one side writes at once.
pub(crate) type Write = (Side, Vec<u8>);

/// Beyond this pause nothing is in flight, in nanoseconds.
const PAUSE: u64 = 2_000_000_000;

pub(crate) fn write(side: Side, bytes: impl AsRef<[u8]>) -> Write {
    (side, bytes.as_ref().to_vec())
}

/// What becomes of one write on its way to the tap.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Whole,
    Missed,
    Half,
}

pub(crate) struct Tap<P: Protocol> {
    pub(crate) connection: Connection<P>,
    at: [u64; 2],
    pub(crate) time: u64,
    pub(crate) records: Vec<P::Record>,
}

impl<P: Protocol + Default> Tap<P> {
    pub(crate) fn new() -> Self {
        let connection = Connection::from_start(P::default(), Limits::in_order());
        Self { connection, at: [0, 0], time: 0, records: Vec::new() }
    }

    pub(crate) fn late() -> Self {
        let connection = Connection::joined_late(P::default(), Limits::in_order());
        Self { connection, at: [77, 7700], ..Self::new() }
    }

    pub(crate) fn send(&mut self, side: Side, bytes: &[u8]) {
        self.time += 1_000_000;
        self.send_cut(side, bytes, &[bytes.len().max(1)]);
    }

    /// Sends in pieces of the given sizes, in turn, all at one time.
    pub(crate) fn send_cut(&mut self, side: Side, mut bytes: &[u8], cuts: &[usize]) {
        for cut in cuts.iter().cycle() {
            if bytes.is_empty() {
                return;
            }
            let (part, rest) = bytes.split_at((*cut).min(bytes.len()));
            self.push(side, part, part.len());
            bytes = rest;
        }
    }

    /// Sends a write of which only the first `copied` bytes were copied.
    fn push(&mut self, side: Side, bytes: &[u8], copied: usize) {
        let (position, length) = (self.at[side as usize], bytes.len() as u64);
        self.at[side as usize] += length;
        let piece = Piece { position, length, bytes: &bytes[..copied], time: self.time };
        self.connection.push(side, piece, &mut self.records);
        assert!(self.connection.memory() < 4 << 20, "memory is bounded");
    }

    /// A write that the tap never saw.
    pub(crate) fn miss(&mut self, side: Side, bytes: &[u8]) {
        self.at[side as usize] += bytes.len() as u64;
    }

    fn meet(&mut self, side: Side, bytes: &[u8], fate: Fate) {
        match fate {
            Fate::Whole => self.push(side, bytes, bytes.len()),
            Fate::Missed => self.miss(side, bytes),
            Fate::Half => self.push(side, bytes, bytes.len() / 2),
        }
    }

    pub(crate) fn close(&mut self) {
        self.time += 1_000_000;
        self.connection.tick(u64::MAX, &mut self.records);
        self.connection.close(Client, self.time, &mut self.records);
        self.connection.close(Server, self.time, &mut self.records);
    }

    /// Bytes that belong to no message, and places lost.
    pub(crate) fn unused(&self) -> u64 {
        [Client, Server]
            .map(|side| self.connection.coverage(side))
            .iter()
            .fold(0, |sum, one| sum + one.unframed + one.malformed)
    }
}

/// What a script gives when every write is one piece.
pub(crate) fn calls<P: Protocol<Record = Call> + Default>(script: &[Write]) -> Vec<Call> {
    let mut tap = Tap::<P>::new();
    for (side, bytes) in script {
        tap.send(*side, bytes);
    }
    tap.close();
    assert_eq!(tap.unused(), 0, "every byte belongs to a message");
    tap.records
}

pub(crate) fn shown(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::to_string).collect()
}

/// The script gives exactly these calls, however it is cut; with losses it gives
/// none that is not there, and goes on after them.
pub(crate) fn conforms<P: Protocol<Record = Call> + Default>(script: &[Write], expected: &[&str]) {
    let whole = calls::<P>(script);
    assert_eq!(shown(&whole), expected);
    any_cut_gives_the_same::<P>(script, &whole);
    from_the_middle::<P>(script, &whole);
    with_losses::<P>(script, &whole);
    mutilated::<P>(script);
}

fn any_cut_gives_the_same<P>(script: &[Write], whole: &[Call])
where
    P: Protocol<Record = Call> + Default,
{
    let run = |cuts: &[usize]| {
        let mut tap = Tap::<P>::new();
        for (side, bytes) in script {
            tap.time += 1_000_000;
            tap.send_cut(*side, bytes, cuts);
        }
        tap.close();
        assert_eq!(tap.unused(), 0, "every byte belongs to a message at {cuts:?}");
        tap.records
    };
    for cut in [1, 2, 3, 5, 16] {
        assert_eq!(run(&[cut]), whole, "cut at {cut}");
    }
    let config = ProptestConfig { failure_persistence: None, cases: 48, ..Default::default() };
    proptest!(config, |(cuts in prop::collection::vec(1_usize..80, 1..8))| {
        prop_assert_eq!(run(&cuts), whole);
    });
}

/// Operations that stand for "not known which": what named it was lost.
const UNNAMED: [&str; 3] = ["_OTHER", "EXECUTE", "QUERY"];

/// Times differ where pieces are lost; nothing else of an answered call may.
pub(crate) fn known(call: &Call, whole: &[Call]) -> bool {
    let answered = matches!(call.outcome, Outcome::Answered { .. });
    whole.iter().any(|one| {
        let same = one.operation == call.operation || UNNAMED.contains(&&*call.operation);
        let unread = one.outcome.is_error() && call.outcome.status() == Some("_OTHER");
        same && (!answered || unread || one.outcome == call.outcome)
    })
}

/// Runs the writes from `first` on, each with its fate; the last exchange comes
/// after a pause.
fn run_with<P>(script: &[Write], first: usize, fate: impl Fn(usize) -> Fate) -> Vec<Call>
where
    P: Protocol<Record = Call> + Default,
{
    let mut tap = if first > 0 { Tap::<P>::late() } else { Tap::<P>::new() };
    let last = script.iter().rposition(|(side, _)| *side == Client).unwrap_or(0);
    for (index, (side, bytes)) in script.iter().enumerate().skip(first) {
        tap.time += if index == last { PAUSE } else { 1_000_000 };
        tap.meet(*side, bytes, fate(index));
    }
    tap.close();
    tap.records
}

fn from_the_middle<P>(script: &[Write], whole: &[Call])
where
    P: Protocol<Record = Call> + Default,
{
    for first in 1..script.len() {
        for call in run_with::<P>(script, first, |_| Fate::Whole) {
            assert!(known(&call, whole), "from {first}: invented {call}");
        }
    }
}

fn with_losses<P>(script: &[Write], whole: &[Call])
where
    P: Protocol<Record = Call> + Default,
{
    for lost in 0..script.len() {
        for fate in [Fate::Missed, Fate::Half] {
            let found = run_with::<P>(script, 0, |at| if at == lost { fate } else { Fate::Whole });
            for call in &found {
                assert!(known(call, whole), "without {lost}: invented {call}");
            }
        }
    }
}

/// After any early loss the last call is found again, answer and all.
pub(crate) fn recovers<P>(script: &[Write])
where
    P: Protocol<Record = Call> + Default,
{
    let whole = calls::<P>(script);
    let last = whole.last().expect("a call").to_string();
    let until = script.iter().rposition(|(side, _)| *side == Client).expect("a client");
    for lost in 0..until.saturating_sub(1) {
        let found =
            run_with::<P>(script, 0, |at| if at == lost { Fate::Missed } else { Fate::Whole });
        assert!(shown(&found).contains(&last), "without {lost}: {:?}", shown(&found));
    }
}

/// Flips, drops and repeats bytes; nothing may panic, grow or hang.
pub(crate) fn mutilated<P: Protocol + Default>(script: &[Write]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let size: usize = script.iter().map(|(_, bytes)| bytes.len()).sum();
    for round in 0..200 {
        let mut tap = if round % 2 == 0 { Tap::<P>::new() } else { Tap::<P>::late() };
        for (side, bytes) in script {
            let mut bytes = bytes.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at.min(bytes.len()), random(256) as u8),
                    2 => bytes.extend_from_within(at.min(bytes.len())..),
                    _ => {
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = random(256) as u8;
                        }
                    }
                }
            }
            let side = if random(20) == 0 { side.peer() } else { *side };
            tap.time += 1_000_000;
            tap.send_cut(side, &bytes, &[1 + random(60)]);
        }
        tap.close();
        assert!(tap.records.len() <= size * 4 + 64, "{} records", tap.records.len());
    }
}

/// The bytes begin a piece that `side` writes, and enough of them say so.
pub(crate) fn recognised<P: Protocol>(side: Side, bytes: &[u8]) {
    assert_eq!(P::recognise(bytes), Recognition::Yes(side), "{}", bytes.escape_ascii());
    for cut in 0..bytes.len() {
        let found = P::recognise(&bytes[..cut]);
        let fine = found == Recognition::Short || found == Recognition::Yes(side);
        assert!(fine, "{found:?} at {cut} of {}", bytes.escape_ascii());
    }
}

/// The bytes begin no piece of the protocol.
pub(crate) fn refused<P: Protocol>(bytes: &[u8]) {
    assert_eq!(P::recognise(bytes), Recognition::No, "{}", bytes.escape_ascii());
}
