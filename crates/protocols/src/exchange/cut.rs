//! Cuts messages that carry their length.
//!
//! Only the beginning of a message is read; the rest is stepped over, whether it
//! was copied or not, so a large value costs nothing and a hole in it no message.

use crate::protocol::Step;
use crate::stream::{Then, View};

/// A message with when it was seen and its size.
#[derive(Debug)]
pub struct Timed<M> {
    /// What was read.
    pub message: M,
    /// When its first byte was seen.
    pub start: u64,
    /// When its last byte was seen, as far as it was.
    pub end: u64,
    /// Size in bytes, header included.
    pub size: u64,
}

/// How messages of one protocol are laid out.
pub(crate) struct Layout {
    /// Bytes that tell the length.
    pub(crate) header: usize,
    /// Bytes of a message worth reading, header included.
    pub(crate) wanted: usize,
}

/// The place in one direction.
#[derive(Debug)]
pub(crate) struct Cutter<M> {
    /// Read, but its end is still being stepped over.
    passing: Option<Timed<M>>,
}

impl<M> Default for Cutter<M> {
    fn default() -> Self {
        Self { passing: None }
    }
}

impl<M> Cutter<M> {
    pub(crate) fn reset(&mut self) {
        self.passing = None;
    }

    /// Whether the front of the view is the front of a message.
    pub(crate) fn is_free(&self) -> bool {
        self.passing.is_none()
    }

    /// Takes a step. `length` gives the whole size from the header, or `None`
    /// where it makes no sense; `read` gets the size and what there is of the
    /// message, at most the wanted bytes unless more came along.
    pub(crate) fn step(
        &mut self,
        view: &View<'_>,
        layout: &Layout,
        length: impl FnOnce(&[u8]) -> Option<u64>,
        read: impl FnOnce(&[u8], u64) -> Option<M>,
    ) -> Step<Timed<M>> {
        if let Some(mut passed) = self.passing.take() {
            passed.end = view.last;
            return Step::Emit { message: passed, used: 0 };
        }
        let bytes = view.bytes;
        if bytes.len() < layout.header {
            return Step::Need;
        }
        let Some(size) = length(bytes).filter(|size| *size >= layout.header as u64) else {
            return Step::Lost;
        };
        let wanted = size.min(layout.wanted as u64) as usize;
        if bytes.len() < wanted && view.then == Then::More {
            return Step::Need;
        }
        let there = (bytes.len() as u64).min(size) as usize;
        let Some(message) = read(&bytes[..there], size) else { return Step::Lost };
        let message = Timed { message, start: view.time, end: view.time, size };
        if there as u64 == size {
            return Step::Emit { message, used: there };
        }
        self.passing = Some(message);
        Step::Skip(size)
    }
}
