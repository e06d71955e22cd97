//! Where the answer to a command ends.
//!
//! Whether column definitions are followed by an end packet depends on what was
//! negotiated at login, which a tap may not have seen; it shows in the packets
//! themselves: an end packet of the old kind has five bytes, of the new kind more.

use std::sync::Arc;

use crate::exchange::read::name;

/// What a command makes the server send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// OK, an error, or a result set.
    Result,
    /// Rows (or columns) up to an end packet.
    Rows,
    /// One packet, whatever it holds.
    One,
    /// A login anew: packets up to OK or an error.
    Login,
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    /// That many column definitions are still to come.
    Columns(u64),
    /// The old end packet after the columns, or the first row.
    AfterColumns,
    Rows,
    /// The client sends a file; then OK or an error.
    File,
}

/// What a packet of an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// More is to come.
    More,
    /// The answer ends well; the number of a prepared statement, if it is one.
    Done(Option<u32>),
    /// It ends with that error.
    Failed(Arc<str>),
    /// It makes no sense.
    Bad,
}

/// The answer to one command, as far as it has come.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    shape: Shape,
    state: State,
    begun: bool,
}

/// More result sets follow (server status flag).
const MORE_RESULTS: u16 = 8;
/// Packets of this length are continued in the next.
pub(super) const FULL: usize = 0xff_ffff;

impl Answer {
    pub(super) fn new(shape: Shape) -> Self {
        let state = if shape == Shape::Rows { State::Rows } else { State::Begin };
        Self { shape, state, begun: false }
    }

    /// Whether nothing of it has come.
    pub(super) fn is_fresh(&self) -> bool {
        !self.begun
    }

    /// Takes in a packet: its payload as far as it is there, and its whole length.
    pub(super) fn packet(&mut self, payload: &[u8], length: usize) -> Verdict {
        let Some(&first) = payload.first() else { return Verdict::Bad };
        self.begun = true;
        if first == 0xff && length >= 3 && self.state != State::AfterColumns || is_error(payload) {
            return Verdict::Failed(error(payload));
        }
        match self.state {
            State::Begin => self.begin(first, payload, length),
            State::Columns(left) => {
                self.state = if left > 1 { State::Columns(left - 1) } else { State::AfterColumns };
                Verdict::More
            }
            State::AfterColumns if first == 0xfe && length == 5 => {
                self.state = State::Rows;
                end_of_columns(payload)
            }
            State::AfterColumns | State::Rows if first == 0xfe && length < FULL => {
                self.end(status_of_end(payload, length))
            }
            State::AfterColumns | State::Rows => {
                self.state = State::Rows;
                Verdict::More
            }
            State::File => self.ok(payload),
        }
    }

    fn begin(&mut self, first: u8, payload: &[u8], length: usize) -> Verdict {
        match (self.shape, first) {
            (Shape::One, _) => Verdict::Done(statement(payload, length)),
            (Shape::Login, 0) => Verdict::Done(None),
            (Shape::Login, _) => Verdict::More,
            (_, 0) => self.ok(payload),
            // An old server ends COM_SET_OPTION so.
            (_, 0xfe) if length == 5 => Verdict::Done(None),
            (_, 0xfb) => {
                self.state = State::File;
                Verdict::More
            }
            _ => match columns(payload, length) {
                Some((count, true)) if count > 0 => {
                    self.state = State::Columns(count);
                    Verdict::More
                }
                Some((_, false)) => {
                    self.state = State::AfterColumns;
                    Verdict::More
                }
                _ => Verdict::Bad,
            },
        }
    }

    fn ok(&mut self, payload: &[u8]) -> Verdict {
        self.end(status_of_ok(payload))
    }

    fn end(&mut self, status: u16) -> Verdict {
        if status & MORE_RESULTS == 0 {
            return Verdict::Done(None);
        }
        self.state = State::Begin;
        self.shape = Shape::Result;
        Verdict::More
    }
}

/// A cursor's columns end its answer: the rows are fetched later.
fn end_of_columns(payload: &[u8]) -> Verdict {
    const CURSOR: u16 = 0x40;
    let status = payload.get(3..5).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
    if status & CURSOR != 0 { Verdict::Done(None) } else { Verdict::More }
}

fn is_error(payload: &[u8]) -> bool {
    matches!(payload, [0xff, _, _, b'#', ..])
}

/// The number of an error, as it is known (1146, not 42S02).
pub(super) fn error(payload: &[u8]) -> Arc<str> {
    match payload {
        [_, low, high, ..] => name(u16::from_le_bytes([*low, *high]).to_string().as_bytes()),
        _ => "_OTHER".into(),
    }
}

/// How many columns follow, and whether their definitions do (`MariaDB` may leave
/// out those that the client has cached; a flag behind the number says so).
fn columns(payload: &[u8], length: usize) -> Option<(u64, bool)> {
    let (count, size) = lenenc(payload)?;
    match length.checked_sub(size)? {
        0 => Some((count, true)),
        1 => Some((count, payload.get(size) != Some(&0))),
        _ => None,
    }
}

/// A length-encoded integer and its size.
fn lenenc(bytes: &[u8]) -> Option<(u64, usize)> {
    let number = |size: usize| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes.get(1..=size)?);
        Some((u64::from_le_bytes(wide), size + 1))
    };
    match *bytes.first()? {
        0xfc => number(2),
        0xfd => number(3),
        0xfe => number(8),
        small @ 0..=0xfa => Some((u64::from(small), 1)),
        _ => None,
    }
}

/// The status flags of an OK packet: behind two length-encoded integers.
fn status_of_ok(payload: &[u8]) -> u16 {
    let found = (|| {
        let (_, rows) = lenenc(payload.get(1..)?)?;
        let (_, id) = lenenc(payload.get(1 + rows..)?)?;
        let two = payload.get(1 + rows + id..3 + rows + id)?;
        Some(u16::from_le_bytes([two[0], two[1]]))
    })();
    found.unwrap_or(0)
}

fn status_of_end(payload: &[u8], length: usize) -> u16 {
    match payload.get(3..5) {
        Some(two) if length == 5 => u16::from_le_bytes([two[0], two[1]]),
        _ => status_of_ok(payload),
    }
}

/// The number of a statement that was prepared.
fn statement(payload: &[u8], length: usize) -> Option<u32> {
    let number = payload.get(1..5)?.try_into().ok()?;
    (length >= 12 && payload[0] == 0).then(|| u32::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(shape: Shape, packets: &[&[u8]]) -> Vec<Verdict> {
        let mut answer = Answer::new(shape);
        packets.iter().map(|packet| answer.packet(packet, packet.len())).collect()
    }

    #[test]
    fn old_and_new_ends() {
        let done = Verdict::Done(None);
        let more = Verdict::More;
        let old: [&[u8]; 5] = [b"\x01", b"\x03def", b"\xfe\0\0\x02\0", b"\x011", b"\xfe\0\0\x02\0"];
        assert_eq!(feed(Shape::Result, &old)[4], done);
        let new: [&[u8]; 4] = [b"\x01", b"\x03def", b"\x011", b"\xfe\0\0\x02\0\0\0"];
        assert_eq!(feed(Shape::Result, &new), [more.clone(), more.clone(), more, done]);
    }

    #[test]
    fn several_results_are_one_answer() {
        let packets: [&[u8]; 2] = [b"\0\x01\0\x08\0\0\0", b"\0\x01\0\x02\0\0\0"];
        assert_eq!(feed(Shape::Result, &packets), [Verdict::More, Verdict::Done(None)]);
    }

    #[test]
    fn errors_and_nonsense() {
        assert_eq!(
            feed(Shape::Result, &[b"\xff\x7a\x04#42S02x"]),
            [Verdict::Failed("1146".into())]
        );
        assert_eq!(feed(Shape::Result, &[b"hello"]), [Verdict::Bad]);
        assert_eq!(feed(Shape::Result, &[b""]), [Verdict::Bad]);
    }
}
