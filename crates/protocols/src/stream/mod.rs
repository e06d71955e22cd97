//! One direction of one connection, as positions and bytes.
//!
//! Pieces may come out of order, twice, cut short (only a prefix was copied) or
//! not at all. The stream puts them in order within bounds and turns everything
//! it does not have into a hole of known length, so that a framer can step over
//! a hole inside a body and knows exactly when it lost its place.

use std::collections::{BTreeMap, VecDeque};

/// What one system call (or one segment) moved.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Offset of the first byte in this direction's stream.
    pub position: u64,
    /// Bytes the call moved; may exceed `bytes.len()`.
    pub length: u64,
    /// The copied prefix; anything beyond `length` is ignored.
    pub bytes: &'a [u8],
    /// When it was seen, in nanoseconds of any monotonic clock.
    pub time: u64,
}

/// Why bytes are absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoleKind {
    /// The piece was seen but only its beginning was copied.
    Truncated,
    /// The positions jumped: a piece was never seen.
    Missing,
    /// Our own buffer was full.
    Overflow,
}

/// Bounds of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes kept while a message is incomplete.
    pub buffered_bytes: usize,
    /// Most pieces kept while an earlier one is awaited.
    pub held_pieces: usize,
    /// Most bytes in those pieces.
    pub held_bytes: usize,
    /// How long an earlier piece is awaited, in nanoseconds; 0 for not at all.
    pub patience: u64,
}

impl Limits {
    /// For sources that never reorder (hooks in the socket itself): a jump in the
    /// positions is a gap at once. Waiting would let the other direction run ahead,
    /// which looks like pipelining and costs answers.
    pub fn in_order() -> Self {
        Self { patience: 0, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buffered_bytes: 256 << 10,
            held_pieces: 64,
            held_bytes: 256 << 10,
            patience: 200_000_000,
        }
    }
}

/// What was pushed into one direction, in bytes unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Length of all new pieces, holes between them not included.
    pub seen: u64,
    /// Not copied by the collector.
    pub truncated: u64,
    /// Never seen.
    pub missing: u64,
    /// Dropped because our buffer was full.
    pub overflow: u64,
    /// Seen again (retransmissions).
    pub duplicate: u64,
    /// Pieces (not bytes) that came before an earlier one.
    pub reordered_pieces: u64,
}

/// What follows the bytes of a [`View`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// More may come.
    More,
    /// Bytes that will never come.
    Hole(HoleKind),
    /// The writer closed.
    End,
}

/// The unconsumed front of a stream.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Contiguous bytes.
    pub bytes: &'a [u8],
    /// Position of the first of them.
    pub position: u64,
    /// When the first of them was seen.
    pub time: u64,
    /// When the last consumed byte was seen.
    pub last: u64,
    /// Whether the first of them began a piece.
    pub boundary: bool,
    /// What follows them.
    pub then: Then,
    /// How much of the last skip could not be done because the writer closed.
    pub unskipped: u64,
}

#[derive(Debug, Clone, Copy)]
enum Segment {
    Bytes { length: usize, time: u64, boundary: bool },
    Hole { length: u64, kind: HoleKind, time: u64 },
}

#[derive(Debug)]
struct Held {
    length: u64,
    bytes: Box<[u8]>,
    time: u64,
}

/// Above this many segments neighbours are joined, so that a sender of one-byte
/// pieces costs memory and time like any other.
const SEGMENTS: usize = 64;

/// Room that an empty stream keeps: most connections are idle, and one that once
/// carried much would hold it for ever.
const KEPT: usize = 4096;

/// One direction of one connection.
#[derive(Debug)]
pub struct ByteStream {
    limits: Limits,
    data: Vec<u8>,
    start: usize,
    segments: VecDeque<Segment>,
    first: u64,
    position: u64,
    /// End of what is queued; `None` until the first piece of a late join.
    next: Option<u64>,
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    held_since: u64,
    to_skip: u64,
    last: u64,
    ended: bool,
    counts: Counts,
}

impl ByteStream {
    /// A stream seen from its first byte.
    pub fn from_start(limits: Limits) -> Self {
        Self { next: Some(0), ..Self::joined_late(limits) }
    }

    /// A stream joined in the middle: the first piece says where.
    pub fn joined_late(limits: Limits) -> Self {
        Self {
            limits,
            data: Vec::new(),
            start: 0,
            segments: VecDeque::new(),
            first: 0,
            position: 0,
            next: None,
            held: BTreeMap::new(),
            held_bytes: 0,
            held_since: 0,
            to_skip: 0,
            last: 0,
            ended: false,
            counts: Counts::default(),
        }
    }

    /// Adds a piece; pieces after [`ByteStream::end`] are still taken (a close
    /// may overtake data).
    pub fn push(&mut self, piece: Piece<'_>) {
        if piece.length == 0 {
            return;
        }
        let copied = (piece.bytes.len() as u64).min(piece.length);
        let piece = Piece { bytes: &piece.bytes[..copied as usize], ..piece };
        let next = *self.next.get_or_insert_with(|| {
            self.first = piece.position;
            self.position = piece.position;
            piece.position
        });
        if piece.position > next {
            self.hold(piece);
        } else {
            self.append(next, piece);
            self.drain_held();
        }
        self.give_up_waiting(piece.time);
    }

    /// The writer closed at `time`; what is still awaited will not come.
    pub fn end(&mut self, time: u64) {
        while !self.held.is_empty() {
            self.open_gap();
        }
        self.ended = true;
        self.last = self.last.max(time);
    }

    /// Stops waiting for earlier pieces once they are overdue at `now`.
    pub fn give_up_waiting(&mut self, now: u64) {
        while !self.held.is_empty() && self.overdue(now) {
            self.open_gap();
            self.held_since = now;
        }
    }

    /// The unconsumed front.
    pub fn view(&self) -> View<'_> {
        let mut length = 0;
        let mut then = if self.ended { Then::End } else { Then::More };
        for segment in &self.segments {
            match *segment {
                Segment::Bytes { length: more, .. } => length += more,
                Segment::Hole { kind, .. } => {
                    then = Then::Hole(kind);
                    break;
                }
            }
        }
        let (time, boundary) = match self.segments.front() {
            Some(&Segment::Bytes { time, boundary, .. }) => (time, boundary),
            Some(&Segment::Hole { time, .. }) => (time, false),
            None => (self.last, false),
        };
        View {
            bytes: &self.data[self.start..self.start + length],
            position: self.position,
            time,
            last: self.last,
            boundary,
            then,
            unskipped: if self.ended { self.to_skip } else { 0 },
        }
    }

    /// Whether a skip is under way that later pieces may still satisfy.
    pub fn is_skipping(&self) -> bool {
        self.to_skip > 0 && !self.ended
    }

    /// Whether the writer closed and nothing is left.
    pub fn is_finished(&self) -> bool {
        self.ended && self.segments.is_empty()
    }

    /// Steps over `length` bytes, over holes too, now or as they come.
    pub fn skip(&mut self, length: u64) {
        self.to_skip = length;
        while self.to_skip > 0 {
            let Some(&front) = self.segments.front() else { break };
            let (available, time) = match front {
                Segment::Bytes { length, time, .. } => (length as u64, time),
                Segment::Hole { length, time, .. } => (length, time),
            };
            let step = available.min(self.to_skip);
            self.to_skip -= step;
            self.last = time;
            self.take_front(front, step);
        }
    }

    /// Drops the rest of the front piece, or the front hole. Returns its length.
    pub fn drop_front(&mut self) -> u64 {
        self.to_skip = 0;
        let Some(&front) = self.segments.front() else { return 0 };
        let length = match front {
            Segment::Bytes { length, .. } => length as u64,
            Segment::Hole { length, .. } => length,
        };
        self.take_front(front, length);
        length
    }

    /// Length of what was taken from the front so far, holes included.
    pub fn consumed(&self) -> u64 {
        self.position - self.first
    }

    /// What was pushed so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of memory held for this direction.
    pub fn memory(&self) -> usize {
        self.data.capacity()
            + self.held_bytes
            + self.segments.capacity() * size_of::<Segment>()
            + self.held.len() * size_of::<(u64, Held)>()
    }

    fn take_front(&mut self, front: Segment, step: u64) {
        self.position = self.position.saturating_add(step);
        let rest = match front {
            Segment::Bytes { length, time, .. } => {
                self.start += step as usize;
                let length = length - step as usize;
                (length > 0).then_some(Segment::Bytes { length, time, boundary: false })
            }
            Segment::Hole { length, kind, time } => {
                (length > step).then_some(Segment::Hole { length: length - step, kind, time })
            }
        };
        match rest {
            Some(rest) => self.segments[0] = rest,
            None => {
                self.segments.pop_front();
            }
        }
        self.compact();
    }

    /// Keeps the buffer from creeping: free when empty, moved when mostly used.
    fn compact(&mut self) {
        if self.start == self.data.len() {
            self.start = 0;
            if self.data.capacity() > KEPT {
                self.data = Vec::new();
            } else {
                self.data.clear();
            }
        } else if self.start > self.limits.buffered_bytes.min(self.data.len() / 2 + 4096) {
            self.data.drain(..self.start);
            self.start = 0;
        }
    }

    fn hold(&mut self, piece: Piece<'_>) {
        self.counts.reordered_pieces += 1;
        if self.held.is_empty() {
            self.held_since = piece.time;
        }
        let held = Held { length: piece.length, bytes: piece.bytes.into(), time: piece.time };
        self.held_bytes += held.bytes.len();
        match self.held.entry(piece.position) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(held);
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let loser = if slot.get().length < held.length { slot.insert(held) } else { held };
                self.held_bytes -= loser.bytes.len();
                self.counts.duplicate += loser.length;
            }
        }
    }

    fn overdue(&self, now: u64) -> bool {
        self.held.len() > self.limits.held_pieces
            || self.held_bytes > self.limits.held_bytes
            || now.saturating_sub(self.held_since) >= self.limits.patience
    }

    /// Declares everything before the first held piece missing.
    fn open_gap(&mut self) {
        let (Some((&to, held)), Some(from)) = (self.held.first_key_value(), self.next) else {
            return;
        };
        let (gap, time) = (to.saturating_sub(from), held.time);
        self.counts.missing += gap;
        self.push_hole(gap, HoleKind::Missing, time);
        self.next = Some(to);
        self.drain_held();
    }

    fn drain_held(&mut self) {
        while let (Some(next), Some(entry)) = (self.next, self.held.first_entry()) {
            if *entry.key() > next {
                return;
            }
            let (position, held) = entry.remove_entry();
            self.held_bytes -= held.bytes.len();
            let Held { length, bytes, time } = held;
            self.append(next, Piece { position, length, bytes: &bytes, time });
        }
    }

    /// Queues a piece that begins at or before `next`.
    fn append(&mut self, next: u64, piece: Piece<'_>) {
        let end = piece.position.saturating_add(piece.length);
        if end <= next {
            self.counts.duplicate += piece.length;
            return;
        }
        let known = next - piece.position;
        self.counts.duplicate += known;
        self.counts.seen += end - next;
        let bytes = piece.bytes.get(known as usize..).unwrap_or_default();
        // Only shorter than the bytes where the position saturated.
        let bytes = &bytes[..bytes.len().min((end - next) as usize)];
        self.counts.truncated += end - next - bytes.len() as u64;
        self.next = Some(end);
        let (bytes, hole) = self.skip_arriving(bytes, end - next, piece.time);
        let kept = self.push_bytes(bytes, piece.time);
        if kept < bytes.len() {
            self.counts.overflow += (bytes.len() - kept) as u64;
            self.push_hole((bytes.len() - kept) as u64, HoleKind::Overflow, piece.time);
        }
        self.push_hole(hole, HoleKind::Truncated, piece.time);
    }

    /// Uses up a pending skip without copying; returns what is left: bytes, and
    /// the length of the hole behind them.
    fn skip_arriving<'a>(&mut self, bytes: &'a [u8], total: u64, time: u64) -> (&'a [u8], u64) {
        let step = self.to_skip.min(total);
        if step > 0 {
            self.to_skip -= step;
            self.position = self.position.saturating_add(step);
            self.last = time;
        }
        let copied = bytes.len() as u64;
        let hole = (total - copied) - step.saturating_sub(copied);
        (&bytes[step.min(copied) as usize..], hole)
    }

    fn push_bytes(&mut self, bytes: &[u8], time: u64) -> usize {
        let room = self.limits.buffered_bytes.saturating_sub(self.data.len() - self.start);
        let kept = bytes.len().min(room);
        if kept == 0 {
            return 0;
        }
        self.data.extend_from_slice(&bytes[..kept]);
        if self.segments.len() >= SEGMENTS
            && let Some(Segment::Bytes { length, .. }) = self.segments.back_mut()
        {
            *length += kept;
        } else {
            self.segments.push_back(Segment::Bytes { length: kept, time, boundary: true });
        }
        kept
    }

    fn push_hole(&mut self, more: u64, kind: HoleKind, time: u64) {
        if more == 0 {
            return;
        }
        let skipped = self.to_skip.min(more);
        self.to_skip -= skipped;
        if skipped > 0 {
            self.position = self.position.saturating_add(skipped);
            self.last = time;
        }
        let more = more - skipped;
        if more == 0 {
            return;
        }
        if let Some(Segment::Hole { length, kind: before, .. }) = self.segments.back_mut()
            && *before == kind
        {
            *length = length.saturating_add(more);
            return;
        }
        self.segments.push_back(Segment::Hole { length: more, kind, time });
    }
}

#[cfg(test)]
mod tests;
