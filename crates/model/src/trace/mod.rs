//! Which request caused which.
//!
//! A request is told by its client's address and port and the TCP sequence number of its
//! first byte. Both hosts see these, so its record at the client and its record at the
//! server find each other, and no header has to carry anything.

use crate::{Exemplar, Role};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A trace's identity, as in W3C's `traceparent` and in OTLP. Never all zero.
pub type TraceId = [u8; 16];
/// A span's identity, likewise.
pub type SpanId = [u8; 8];

/// Ancestors that are followed at most.
const DEEPEST: usize = 64;

/// Where a request comes from, as far as it was seen when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The request, the same at both of its ends. Never 0.
    pub request: u64,
    /// The request that the sending thread was serving and nothing else; `None` where
    /// that is not proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
    /// What its `traceparent` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
}

/// A trace and a span of it, as a `traceparent` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that sent the header.
    pub span: SpanId,
}

impl Context {
    /// Reads a `traceparent` header's value (W3C Trace Context, level 1, section 3.2).
    /// What comes behind the flags is for later versions, and is not looked at.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.trim_matches([' ', '\t']).split('-');
        let version: [u8; 1] = bytes(parts.next()?)?;
        let trace = bytes(parts.next()?)?;
        let span = bytes(parts.next()?)?;
        let _flags: [u8; 1] = bytes(parts.next()?)?;
        let ends = version != [0] || parts.next().is_none();
        let valid = version != [0xff] && trace != [0; 16] && span != [0; 8] && ends;
        valid.then_some(Self { trace, span })
    }
}

/// Bytes out of exactly as many pairs of small hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |d: u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().as_chunks::<2>();
    if pairs.0.len() != N || !pairs.1.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs.0) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// An identity in small hexadecimal digits.
pub fn hex(identity: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half & 15)]);
    identity.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// A request's place among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its trace.
    pub trace: TraceId,
    /// Its record at this end.
    pub span: SpanId,
    /// What caused it; `None` where that is not known.
    pub parent: Option<SpanId>,
}

/// Records of requests, to be found by who caused them.
#[derive(Clone, Debug, Default)]
pub struct Places(HashMap<(u64, bool), Origin>);

/// Its request, and whether it was seen at the server; nothing where the end is not known.
fn end(one: &Exemplar) -> Option<(u64, bool)> {
    let serves = match one.edge.role {
        Role::Server => true,
        Role::Client => false,
        Role::Unknown => return None,
    };
    Some((one.origin?.request, serves))
}

impl Places {
    /// Of these records: who is not among them is not found.
    pub fn among<'a>(records: impl IntoIterator<Item = &'a Exemplar>) -> Self {
        Self(records.into_iter().filter_map(|one| Some((end(one)?, one.origin?))).collect())
    }

    /// The place of one of these records; `None` for one that has no [`Origin`].
    ///
    /// At a server the parent is the client's record of the same request, else who sent
    /// the header. At a client it is who sent the header, unless that was only passed on,
    /// else what its thread served.
    pub fn of(&self, one: &Exemplar) -> Option<Place> {
        let own = end(one)?;
        let span = span_of(own);
        let (mut at, mut parent, mut first) = (own, None, true);
        for _ in 0..DEEPEST {
            let above = self.above(at);
            if std::mem::take(&mut first) {
                parent = above.map(|above| match above {
                    Above::Record(key) => span_of(key),
                    Above::Context(context) => context.span,
                });
            }
            match above {
                Some(Above::Record(key)) => at = key,
                Some(Above::Context(context)) => {
                    return Some(Place { trace: context.trace, span, parent });
                }
                None => break,
            }
        }
        Some(Place { trace: trace_of(at.0), span, parent })
    }

    fn above(&self, (request, serves): (u64, bool)) -> Option<Above> {
        let origin = self.0.get(&(request, serves))?;
        let context = origin.context.map(Above::Context);
        if serves {
            let asked = self.0.contains_key(&(request, false));
            return asked.then_some(Above::Record((request, false))).or(context);
        }
        let cause = origin.cause.map(|cause| (cause, true));
        // A header that its server was sent, and sends on as it is, tells of nobody between.
        let passed_on = |cause| self.0.get(&cause).is_some_and(|by| by.context == origin.context);
        match cause {
            Some(cause) if context.is_none() || passed_on(cause) => Some(Above::Record(cause)),
            _ => context,
        }
    }
}

/// Who caused a request.
#[derive(Clone, Copy)]
enum Above {
    Record((u64, bool)),
    Context(Context),
}

/// A span out of a request and its end.
fn span_of((request, serves): (u64, bool)) -> SpanId {
    mixed(request ^ if serves { 0x7365_7276_6572 } else { 0x636c_6965_6e74 }).to_be_bytes()
}

/// A trace out of the request at its top.
fn trace_of(request: u64) -> TraceId {
    let halves = [mixed(request ^ 0x0074_7261_6365), mixed(request.rotate_left(32) ^ 0x6964)];
    let mut trace = [0; 16];
    for (to, half) in trace.as_chunks_mut::<8>().0.iter_mut().zip(halves) {
        *to = half.to_be_bytes();
    }
    trace
}

/// The last step of `SplitMix64` (Steele, Lea and Flood, 2014), which no two numbers share;
/// 0 is no identity.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).max(1)
}

#[cfg(test)]
mod tests;
