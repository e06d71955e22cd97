//! Cuts lines and the payloads behind them.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use crate::exchange::{Text, Timed};
use crate::keys;
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

/// Longest line in bytes: `INFO` and `CONNECT` carry JSON.
const LONGEST: usize = 64 << 10;
/// Longest payload taken for one; the server's bound is 64 MB.
const LONGEST_PAYLOAD: u64 = 64 << 20;

/// A subject: what is shown of it, and its number for pairing.
#[derive(Debug, Clone)]
pub struct Subject {
    pub(super) shown: Arc<str>,
    pub(super) number: u64,
}

impl Subject {
    fn new(raw: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(raw);
        Self { shown: keys::topic(raw), number: hasher.finish() }
    }
}

/// What pairing needs of a line.
#[derive(Debug)]
pub enum Part {
    /// A message, from either side.
    Message {
        /// Where it goes.
        subject: Subject,
        /// Where the answer is to go.
        reply: Option<Subject>,
    },
    /// A subscription.
    Subscribe(Subject),
    /// The server complains.
    Error(Text),
    /// Anything else.
    Other,
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    passing: Option<Timed<Part>>,
    scanned: usize,
}

impl Framer {
    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        if let Some(mut passed) = self.passing.take() {
            passed.end = view.last;
            return Step::Emit { message: passed, used: 0 };
        }
        let bytes = view.bytes;
        let from = self.scanned.min(bytes.len());
        let Some(end) = memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at + 1) else {
            self.scanned = bytes.len();
            return if bytes.len() > LONGEST { Step::Lost } else { Step::Need };
        };
        self.scanned = 0;
        let Some(line) = bytes[..end - 1].strip_suffix(b"\r") else { return Step::Lost };
        let Some((part, payload)) = read(side, line) else { return Step::Lost };
        let size = end as u64 + payload.map_or(0, |payload| payload + 2);
        let message = Timed { message: part, start: view.time, end: view.time, size };
        if size <= bytes.len() as u64 {
            return Step::Emit { message, used: size as usize };
        }
        self.passing = Some(message);
        Step::Skip(size)
    }
}

/// A line, and the size of the payload behind it.
fn read(side: Side, line: &[u8]) -> Option<(Part, Option<u64>)> {
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let verb = words.next()?;
    let is = |known: &str| verb.eq_ignore_ascii_case(known.as_bytes());
    let message = |words: &[&[u8]]| {
        let (size, names) = words.split_last()?;
        let reply = names.get(1).map(|reply| Subject::new(reply));
        let part = Part::Message { subject: Subject::new(names.first()?), reply };
        Some((part, Some(number(size)?)))
    };
    match side {
        Side::Client if is("PUB") || is("HPUB") => {
            let mut words: Vec<&[u8]> = words.take(5).collect();
            // The size of the headers stands before that of all.
            if is("HPUB") && words.len() > 2 {
                words.remove(words.len() - 2);
            }
            message(&words)
        }
        Side::Server if is("MSG") || is("HMSG") => {
            let mut words: Vec<&[u8]> = words.take(6).collect();
            if is("HMSG") && words.len() > 3 {
                words.remove(words.len() - 2);
            }
            // The number of the subscription stands behind the subject.
            if words.len() < 3 {
                return None;
            }
            words.remove(1);
            message(&words)
        }
        Side::Client if is("SUB") => Some((Part::Subscribe(Subject::new(words.next()?)), None)),
        Side::Client if is("CONNECT") || is("UNSUB") => Some((Part::Other, None)),
        Side::Server if is("INFO") || is("+OK") => Some((Part::Other, None)),
        Side::Server if is("-ERR") => Some((Part::Error(complaint(line)), None)),
        _ if is("PING") || is("PONG") => Some((Part::Other, None)),
        _ => None,
    }
}

fn number(word: &[u8]) -> Option<u64> {
    let digits = word.len() <= 9 && word.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(word).ok().filter(|_| digits)?.parse().ok()?;
    (number <= LONGEST_PAYLOAD).then_some(number)
}

/// The complaints of the protocol's description; some quote a subject, which is
/// left out.
fn complaint(line: &[u8]) -> Text {
    const KNOWN: [&str; 14] = [
        "Unknown Protocol Operation",
        "Attempted To Connect To Route Port",
        "Authorization Violation",
        "Authorization Timeout",
        "Invalid Client Protocol",
        "Maximum Control Line Exceeded",
        "Parser Error",
        "Secure Connection - TLS Required",
        "Stale Connection",
        "Maximum Connections Exceeded",
        "Slow Consumer",
        "Maximum Payload Violation",
        "Invalid Subject",
        "Permissions Violation",
    ];
    let text = line[4..].trim_ascii_start().strip_prefix(b"'").unwrap_or_default();
    let same = |known: &&&str| {
        text.get(..known.len()).is_some_and(|text| text.eq_ignore_ascii_case(known.as_bytes()))
    };
    KNOWN.iter().find(same).map_or("_OTHER".into(), |known| (*known).into())
}

/// Judges bytes that begin a piece. `PING`, `+OK` and `-ERR` are left out: Redis
/// has them too.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    const STARTS: [(&[u8], Side); 4] = [
        (b"INFO {", Side::Server),
        (b"CONNECT {", Side::Client),
        (b"PONG\r\n", Side::Client),
        (b"UNSUB ", Side::Client),
    ];
    match one_of(&STARTS, bytes) {
        Recognition::No => verb(bytes),
        found => found,
    }
}

/// Whether the bytes begin in one of some ways.
fn one_of(starts: &[(&[u8], Side)], bytes: &[u8]) -> Recognition {
    for (start, side) in starts {
        if start.iter().zip(bytes).all(|(one, other)| one == other) {
            let whole = bytes.len() >= start.len();
            return if whole { Recognition::Yes(*side) } else { Recognition::Short };
        }
    }
    Recognition::No
}

/// Whether the bytes begin with a line that has arguments.
fn verb(bytes: &[u8]) -> Recognition {
    for (verb, side) in [
        (&b"PUB "[..], Side::Client),
        (b"HPUB ", Side::Client),
        (b"SUB ", Side::Client),
        (b"MSG ", Side::Server),
        (b"HMSG ", Side::Server),
    ] {
        if verb.iter().zip(bytes).all(|(one, other)| one == other) {
            let head = &bytes[..bytes.len().min(1024)];
            return match memchr::memchr(b'\n', head) {
                None if head.len() < 1024 => Recognition::Short,
                Some(end)
                    if head[..end].strip_suffix(b"\r").is_some_and(|l| read(side, l).is_some()) =>
                {
                    Recognition::Yes(side)
                }
                _ => Recognition::No,
            };
        }
    }
    Recognition::No
}

/// The same where the side is known: both sides send `PING` and `PONG`.
pub(super) fn resumes(side: Side, bytes: &[u8]) -> Recognition {
    let starts: [(&[u8], Side); 4] = [
        (b"+OK\r\n", Side::Server),
        (b"-ERR '", Side::Server),
        (b"PING\r\n", side),
        (b"PONG\r\n", side),
    ];
    match one_of(&starts, bytes) {
        Recognition::No => recognise(bytes),
        found => found,
    }
}
