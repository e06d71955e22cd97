//! Cuts messages and reads their headers and first documents.

use std::sync::Arc;

use super::bson::{self, Element};
use crate::exchange::cut::{Cutter, Layout};
use crate::exchange::read::name;
use crate::exchange::{Outcome, Text, Timed};
use crate::protocol::{Recognition, Side, Step};
use crate::stream::View;

const HEADER: usize = 16;
/// Longest message in bytes (`maxMessageSizeBytes`).
const LONGEST: u32 = 48_000_000;
/// Bytes of a message that are read.
const WANTED: usize = 4096;

const OP_REPLY: u32 = 1;
const OP_QUERY: u32 = 2004;
const OP_COMPRESSED: u32 = 2012;
const OP_MSG: u32 = 2013;
const MORE_TO_COME: u32 = 2;

/// What is kept of a command.
#[derive(Debug, Default)]
pub struct Command {
    pub(super) operation: Option<Text>,
    pub(super) collection: Option<Arc<str>>,
    pub(super) database: Option<Arc<str>>,
    /// No answer will come.
    pub(super) silent: bool,
}

/// What pairing needs of a message.
#[derive(Debug)]
pub enum Part {
    /// A command under its number.
    Command(u32, Command),
    /// An answer: the number of its command, and what it says.
    Answer(u32, Outcome),
}

/// The framer of one direction.
#[derive(Debug, Default)]
pub(super) struct Framer {
    cutter: Cutter<Part>,
}

impl Framer {
    pub(super) fn step(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        let layout = Layout { header: HEADER, wanted: WANTED };
        self.cutter.step(view, &layout, length, |bytes, size| {
            let cut = (bytes.len() as u64) < size.min(WANTED as u64);
            read(side, bytes, cut)
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |four| u32::from_le_bytes(*four))
}

fn length(header: &[u8]) -> Option<u64> {
    let length = word(header, 0);
    let known = matches!(word(header, 12), OP_REPLY | OP_QUERY | OP_COMPRESSED | OP_MSG)
        // Messages of MongoDB before 5.1: updates without an answer, and cursors.
        || matches!(word(header, 12), 2001 | 2002 | 2005..=2007);
    (known && (HEADER as u32 + 5..=LONGEST).contains(&length)).then_some(u64::from(length))
}

fn read(side: Side, bytes: &[u8], cut: bool) -> Option<Part> {
    let body = &bytes[HEADER..];
    let (number, answers, code) = (word(bytes, 4), word(bytes, 8), word(bytes, 12));
    Some(match (side, code) {
        (Side::Client, OP_MSG) => {
            let mut command = section(body).map(command).unwrap_or_default();
            command.silent = word(body, 0) & MORE_TO_COME != 0;
            Part::Command(number, command)
        }
        (Side::Client, OP_QUERY) => {
            let end = memchr::memchr(0, body.get(4..)?)? + 4;
            let command = command(body.get(end + 9..).unwrap_or_default());
            let database = body[4..end].split(|byte| *byte == b'.').next().map(name);
            Part::Command(number, Command { database, ..command })
        }
        (Side::Client, OP_COMPRESSED) => Part::Command(number, Command::default()),
        (Side::Client, _) => {
            Part::Command(number, Command { silent: code != 2005, ..Command::default() })
        }
        (Side::Server, OP_MSG) => Part::Answer(answers, outcome(section(body), cut)),
        (Side::Server, OP_REPLY) => Part::Answer(answers, outcome(body.get(20..), cut)),
        (Side::Server, _) => Part::Answer(answers, Outcome::OK),
    })
}

/// The document of an `OP_MSG`: the section of kind 0, which other sections
/// (`insert`'s documents) may precede.
fn section(body: &[u8]) -> Option<&[u8]> {
    let mut rest = body.get(4..)?;
    loop {
        let (&kind, after) = rest.split_first()?;
        match kind {
            0 => return Some(after),
            1 => rest = after.get(word(after, 0).max(4) as usize..)?,
            _ => return None,
        }
    }
}

/// The first element names the command, and mostly the collection.
fn command(document: &[u8]) -> Command {
    let mut elements = bson::elements(document);
    let Some(first) = elements.next() else { return Command::default() };
    let word = !first.name.is_empty()
        && first.name.len() <= 40
        && first.name.iter().all(u8::is_ascii_alphanumeric);
    let operation = word.then(|| Text::from(String::from_utf8_lossy(first.name).into_owned()));
    let collection = |element: &Element<'_>| element.text().map(name);
    let mut command = Command { operation, collection: collection(&first), ..Command::default() };
    for element in elements {
        match element.name {
            b"collection" if first.name == b"getMore" => command.collection = collection(&element),
            b"$db" => command.database = element.text().map(name),
            _ => {}
        }
    }
    command
}

/// What an answer says: the code of a failed command, or of the first failed write
/// in it. Success stands at the end of a document, behind what may be much data;
/// a failure is short.
fn outcome(document: Option<&[u8]>, cut: bool) -> Outcome {
    let (mut ok, mut code, mut wrote) = (None, None, true);
    for element in bson::elements(document.unwrap_or_default()) {
        match element.name {
            b"ok" => ok = element.number(),
            b"code" => code = element.number(),
            b"writeErrors" => {
                let first = element.elements().next();
                code = first.and_then(|first| {
                    first.elements().find(|inner| inner.name == b"code")?.number()
                });
                wrote = false;
            }
            _ => {}
        }
    }
    match ok {
        None if cut => Outcome::Unseen,
        Some(0) => failed(code),
        _ if !wrote => failed(code),
        _ => Outcome::OK,
    }
}

fn failed(code: Option<i64>) -> Outcome {
    code.map_or(Outcome::failed("_OTHER"), |code| Outcome::failed(code.to_string()))
}

/// Judges bytes that begin a piece.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let Some(header) = bytes.get(..HEADER) else { return short(bytes) };
    if length(header).is_none() {
        return Recognition::No;
    }
    let (answers, code) = (word(header, 8), word(header, 12));
    // Flags are few, and a section of kind 0 or 1 follows.
    if code == OP_MSG {
        match bytes.get(HEADER..HEADER + 5) {
            None => return Recognition::Short,
            Some([a, 0, c, 0, 0 | 1]) if *a < 8 && *c < 2 => {}
            Some(_) => return Recognition::No,
        }
    }
    // Four flags are defined for the old answer.
    if code == OP_REPLY {
        match bytes.get(HEADER..HEADER + 4) {
            None => return Recognition::Short,
            Some([0..16, 0, 0, 0]) => {}
            Some(_) => return Recognition::No,
        }
    }
    let answer = answers != 0 || code == OP_REPLY;
    Recognition::Yes(if answer { Side::Server } else { Side::Client })
}

fn short(bytes: &[u8]) -> Recognition {
    let fits =
        bytes.get(3).is_none_or(|high| *high < 3) && bytes.get(13).is_none_or(|one| *one < 8);
    if fits { Recognition::Short } else { Recognition::No }
}
