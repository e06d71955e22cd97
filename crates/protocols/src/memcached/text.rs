//! The text protocol: lines, and blocks of data whose length a line tells.

use super::pair::{Answer, Ends, Part};
use crate::exchange::{Text, Timed};
use crate::keys;
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

/// Longest line in bytes: a `get` may name many keys of 250.
const LONGEST: usize = 64 << 10;

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// Read, but its data is still being stepped over.
    passing: Option<Timed<Part>>,
    scanned: usize,
}

impl Framer {
    pub(super) fn is_free(&self) -> bool {
        self.passing.is_none()
    }

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
        let line = bytes[..end - 1].strip_suffix(b"\r").unwrap_or(&bytes[..end - 1]);
        let read = match side {
            Side::Client => command(line),
            Side::Server => answer(line),
        };
        let Some((part, data)) = read else { return Step::Lost };
        let size = end as u64 + data.map_or(0, |data| data + 2);
        let message = Timed { message: part, start: view.time, end: view.time, size };
        if size <= bytes.len() as u64 {
            return Step::Emit { message, used: size as usize };
        }
        self.passing = Some(message);
        Step::Skip(size)
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn number(word: &[u8]) -> Option<u64> {
    /// Above what a server can be told to take (`-I`: 1 GB).
    const MOST: u64 = 1 << 30;
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok().filter(|number| *number <= MOST)
}

/// How a command ends, and where its length stands.
struct Command {
    name: &'static str,
    /// The word that tells the length of its data.
    data: Option<usize>,
    ends: Ends,
    keyed: bool,
}

const COMMANDS: [Command; 29] = {
    const fn of(name: &'static str, data: Option<usize>, ends: Ends, keyed: bool) -> Command {
        Command { name, data, ends, keyed }
    }
    use Ends::{End, Line};
    [
        of("get", None, End, true),
        of("gets", None, End, true),
        of("gat", None, End, false),
        of("gats", None, End, false),
        of("set", Some(4), Line, true),
        of("add", Some(4), Line, true),
        of("replace", Some(4), Line, true),
        of("append", Some(4), Line, true),
        of("prepend", Some(4), Line, true),
        of("cas", Some(4), Line, true),
        of("delete", None, Line, true),
        of("incr", None, Line, true),
        of("decr", None, Line, true),
        of("touch", None, Line, true),
        of("mg", None, Line, true),
        of("ms", Some(2), Line, true),
        of("md", None, Line, true),
        of("ma", None, Line, true),
        of("me", None, Line, true),
        of("mn", None, Line, false),
        of("stats", None, End, false),
        of("flush_all", None, Line, false),
        of("version", None, Line, false),
        of("verbosity", None, Line, false),
        of("lru_crawler", None, Line, false),
        of("lru", None, Line, false),
        of("slabs", None, Line, false),
        of("watch", None, Line, false),
        of("quit", None, Ends::Never, false),
    ]
};

fn find(word: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.as_bytes() == word)
}

/// A command line, and how much data follows.
fn command(line: &[u8]) -> Option<(Part, Option<u64>)> {
    let mut all = words(line);
    let command = find(all.next()?)?;
    let data = match command.data {
        Some(at) => Some(number(words(line).nth(at)?)?),
        None => None,
    };
    let key = if command.keyed { Some(keys::space(all.next()?)) } else { None };
    let meta = command.name.len() == 2;
    let quiet = if meta {
        // `q`: nothing but bad news.
        all.any(|flag| flag == b"q")
    } else {
        line.ends_with(b" noreply")
    };
    let ends = if quiet { Ends::Never } else { command.ends };
    Some((Part::Command { name: command.name.into(), key, ends, opaque: None }, data))
}

/// A line of an answer, and how much data follows.
fn answer(line: &[u8]) -> Option<(Part, Option<u64>)> {
    let first = words(line).next()?;
    let status = |status: &'static str| Some(Text::Borrowed(status));
    let (answer, data) = match first {
        b"VALUE" => (Answer::More, Some(number(words(line).nth(3)?)?)),
        b"VA" => (Answer::Line(None), Some(number(words(line).nth(1)?)?)),
        b"STAT" | b"ITEM" | b"RESET" => (Answer::More, None),
        b"END" => (Answer::End, None),
        b"EN" => (Answer::Line(status("miss")), None),
        b"STORED" | b"DELETED" | b"TOUCHED" | b"OK" | b"VERSION" | b"HD" | b"ME" | b"MN" => {
            (Answer::Line(None), None)
        }
        b"NOT_STORED" | b"NS" => (Answer::Line(status("NOT_STORED")), None),
        b"NOT_FOUND" | b"NF" => (Answer::Line(status("NOT_FOUND")), None),
        b"EXISTS" | b"EX" => (Answer::Line(status("EXISTS")), None),
        b"ERROR" => (Answer::Failed("ERROR".into()), None),
        b"CLIENT_ERROR" => (Answer::Failed("CLIENT_ERROR".into()), None),
        b"SERVER_ERROR" => (Answer::Failed("SERVER_ERROR".into()), None),
        b"BUSY" | b"BADCLASS" => (Answer::Failed("BUSY".into()), None),
        // incr and decr answer with the new value.
        digits if number(digits).is_some() || digits.iter().all(u8::is_ascii_digit) => {
            (Answer::Line(None), None)
        }
        _ => return None,
    };
    Some((Part::Answer { answer, opaque: None }, data))
}

/// Judges bytes that begin a piece. Words shared with other protocols (`GET`,
/// `OK`) differ in case or in what follows.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    const ANSWERS: [&[u8]; 12] = [
        b"VALUE ",
        b"END\r\n",
        b"STORED\r\n",
        b"NOT_STORED\r\n",
        b"NOT_FOUND\r\n",
        b"DELETED\r\n",
        b"TOUCHED\r\n",
        b"EXISTS\r\n",
        b"STAT ",
        b"CLIENT_ERROR ",
        b"SERVER_ERROR ",
        b"HD\r\n",
    ];
    let begins = |known: &[u8]| known.iter().zip(bytes).all(|(one, other)| one == other);
    if let Some(known) = ANSWERS.iter().find(|known| begins(known)) {
        let whole = bytes.len() >= known.len();
        return if whole { Recognition::Yes(Side::Server) } else { Recognition::Short };
    }
    let head = &bytes[..bytes.len().min(300)];
    let word = head.iter().position(|byte| matches!(byte, b' ' | b'\r'));
    let Some(word) = word else {
        let prefix = |command: &Command| command.name.as_bytes().starts_with(head);
        return if COMMANDS.iter().any(prefix) { Recognition::Short } else { Recognition::No };
    };
    if find(&head[..word]).is_none() {
        return Recognition::No;
    }
    match memchr::memchr(b'\n', head) {
        None if head.len() < 300 && !head.contains(&0) => Recognition::Short,
        Some(end) if head[end - 1] == b'\r' && command(&head[..end - 1]).is_some() => {
            Recognition::Yes(Side::Client)
        }
        _ => Recognition::No,
    }
}
