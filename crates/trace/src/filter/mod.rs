//! Filter expressions in the words of `pcap-filter(7)`, compiled for the kernel.
//!
//! The subset: `host`, `net`, `port`, `portrange` with `src` and `dst`; `ip`, `ip6`,
//! `tcp`, `udp`, `sctp`, `icmp`, `icmp6` and other protocols by name, `proto N`; `less N`,
//! `greater N`; `ether host`, `ether proto`, `vlan`, `broadcast`, `multicast`; numbers in
//! headers (`tcp[tcpflags] & tcp-syn != 0`, `ip[6:2] & 0x1fff == 0`, `ether[0] & 1 != 0`);
//! `and`, `or`, `not`, parentheses, and the short forms (`host a or b`). Beyond pcap there
//! are `netns INODE`, `ifindex N`, `mark N`, `reason N` (of a drop). Names of hosts are not
//! looked up, and nothing is calculated.

mod bytes;
mod compile;
mod lex;
mod link;
mod parse;

use std::net::IpAddr;

use taproot_probes::trace::{Compare, Field, Layer, Test};

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// One question about one field.
    Ask {
        /// Which.
        field: Field,
        /// How it is compared.
        compare: Compare,
        /// Bits that count.
        mask: u32,
        /// To compare with.
        value: u32,
    },
    /// The opposite.
    Not(Box<Expr>),
    /// All of these; none holds always.
    All(Vec<Expr>),
    /// One of these; none never holds.
    Any(Vec<Expr>),
}

/// Which end of a packet is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Source or destination.
    #[default]
    Either,
    /// Source and destination.
    Both,
    /// Source.
    Source,
    /// Destination.
    Destination,
}

/// A filter that cannot be understood: what is wrong, where, and a hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: {what}\n  {text}\n  {blank:at$}^ {hint}", blank = "")]
pub struct FilterError {
    /// What is wrong.
    pub what: String,
    /// The whole expression.
    pub text: String,
    /// Characters before the place.
    pub at: usize,
    /// What to write instead.
    pub hint: String,
}

impl Expr {
    /// Reads an expression. An empty one holds for every packet.
    ///
    /// # Errors
    /// With the place of the first word that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::expression(text)
    }

    /// The tests that the kernel evaluates.
    ///
    /// # Errors
    /// When there are more than [`taproot_probes::trace::MAX_TESTS`].
    pub fn compile(&self) -> Result<Vec<Test>, TooLong> {
        compile::tests(self)
    }

    /// A question for equality.
    pub fn is(field: Field, value: u32) -> Self {
        Self::Ask { field, compare: Compare::Equal, mask: u32::MAX, value }
    }

    /// Packets from or to an address.
    pub fn host(address: IpAddr, side: Side) -> Self {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Self::net(address, bits, side)
    }

    /// Packets from or to a network.
    pub fn net(address: IpAddr, bits: u8, side: Side) -> Self {
        let family = if address.is_ipv4() { 4 } else { 6 };
        let end = |is_source| Self::All(words(address, bits, is_source));
        Self::All(vec![Self::is(Field::Family, family), side.of(&end)])
    }

    /// Packets from or to a range of ports, both included.
    pub fn ports(first: u16, last: u16, side: Side) -> Self {
        let end = |is_source| {
            let field = if is_source { Field::SourcePort } else { Field::DestinationPort };
            if first == last {
                return Self::is(field, u32::from(first));
            }
            let ask = |compare, value: u16| Self::Ask {
                field,
                compare,
                mask: u32::MAX,
                value: u32::from(value),
            };
            Self::All(vec![ask(Compare::AtLeast, first), ask(Compare::AtMost, last)])
        };
        Self::All(vec![Self::is(Field::Ports, 1), side.of(&end)])
    }

    /// Both must hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::All(vec![self, other])
    }
}

/// The filter needs more tests than the kernel's table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter needs {0} tests and 64 are possible: name fewer addresses or ports")]
pub struct TooLong(pub usize);

impl Side {
    /// A condition on an end (`true`: the source) applied to the ends meant.
    fn of(self, end: &dyn Fn(bool) -> Expr) -> Expr {
        match self {
            Self::Source => end(true),
            Self::Destination => end(false),
            Self::Either => Expr::Any(vec![end(true), end(false)]),
            Self::Both => Expr::All(vec![end(true), end(false)]),
        }
    }
}

/// Questions about the words of an address; those that no bit of the prefix
/// reaches are left out.
fn words(address: IpAddr, bits: u8, is_source: bool) -> Vec<Expr> {
    let (all, count) = match address {
        IpAddr::V4(v4) => ([v4.to_bits(), 0, 0, 0], 1),
        IpAddr::V6(v6) => {
            let wide = v6.to_bits();
            ([(wide >> 96) as u32, (wide >> 64) as u32, (wide >> 32) as u32, wide as u32], 4)
        }
    };
    (0..count)
        .filter_map(|at| {
            let left = u32::from(bits).saturating_sub(u32::from(at) * 32).min(32);
            let mask = u32::MAX.checked_shl(32 - left).unwrap_or(0);
            let field = if is_source { Field::Source(at) } else { Field::Destination(at) };
            let value = all[usize::from(at)] & mask;
            (mask != 0).then_some(Expr::Ask { field, compare: Compare::Equal, mask, value })
        })
        .collect()
}

/// What a filter is asked of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen<'a> {
    /// All fields by number.
    pub fields: [u32; Field::COUNT],
    /// The frame's header, right before the IP header; empty where there is none.
    pub link: &'a [u8],
    /// The packet from its IP header on.
    pub ip: &'a [u8],
    /// Bytes before the transport's header; `None` where there is none.
    pub transport: Option<usize>,
}

/// Bytes that a packet does not have.
enum Unread {
    NoHeader,
    BehindTheEnd,
}

impl Seen<'_> {
    fn value(&self, field: Field) -> Result<u32, Unread> {
        let Field::Bytes { layer, offset, size } = field else {
            return Ok(self.fields[usize::from(field.number())]);
        };
        let begin = match layer {
            Layer::Link if self.link.is_empty() => return Err(Unread::NoHeader),
            Layer::Link => 0,
            Layer::Network => self.link.len(),
            Layer::Transport => self.link.len() + self.transport.ok_or(Unread::NoHeader)?,
        };
        let mut bytes = self.link.iter().chain(self.ip).skip(begin + usize::from(offset));
        let number =
            (0..size).try_fold(0, |sum: u32, _| Some(sum << 8 | u32::from(*bytes.next()?)));
        number.ok_or(Unread::BehindTheEnd)
    }
}

/// What the kernel would answer.
pub fn evaluate(tests: &[Test], seen: &Seen<'_>) -> bool {
    let mut at = 0u8;
    if tests.is_empty() {
        return true;
    }
    while let Some(test) = tests.get(usize::from(at)) {
        at = match seen.value(test.field) {
            Ok(value) if test.holds(value) => test.yes,
            Ok(_) | Err(Unread::NoHeader) => test.no,
            Err(Unread::BehindTheEnd) => return false,
        };
    }
    at == Test::ACCEPT
}

#[cfg(test)]
mod libpcap_tests;
#[cfg(test)]
mod tests;
