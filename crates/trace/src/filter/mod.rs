//! Filter expressions in the words of `pcap-filter(7)`, compiled for the kernel.
//!
//! The subset: `host`, `net`, `port`, `portrange` with `src` and `dst`; `ip`, `ip6`,
//! `tcp`, `udp`, `sctp`, `icmp`, `icmp6` and other protocols by name, `proto N`; `less N`,
//! `greater N`; `arp`, `rarp` with hosts and networks, `stp`, `mpls N` and other frames that
//! are not IP; `ether host`, `ether proto`, `vlan`, `broadcast`, `multicast`; numbers in
//! headers and what is calculated from them (`tcp[tcpflags] & tcp-syn != 0`,
//! `ip[2:2] - ((ip[0] & 0xf) << 2) > 20`); `and`, `or`, `not`, parentheses, and the short
//! forms (`host a or b`). Beyond pcap there are `netns INODE`, `ifindex N`, `mark N`,
//! `reason N` (of a drop). Names of hosts and services are those of `/etc/hosts` and
//! `/etc/services`.

mod bytes;
mod calculate;
mod compile;
mod lex;
mod link;
mod names;
mod parse;

use std::net::IpAddr;

use taproot_probes::trace::{
    Calculation, Compare, Field, Layer, MAX_OPERATIONS, MAX_TESTS, Operand, Operator, Test,
};

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
    /// When there are more than [`MAX_TESTS`], or they calculate with more than
    /// [`MAX_OPERATIONS`].
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

    /// Packets from or to a network. Those of ARP that ask for or tell of its addresses are
    /// among them, where a filter names frames at all.
    pub fn net(address: IpAddr, bits: u8, side: Side) -> Self {
        let value = if address.is_ipv4() { 4 } else { 6 };
        let (field, compare, mask) = (Field::Family, Compare::Equal, Field::ENDS);
        let end = |is_source| Self::All(words(address, bits, is_source));
        Self::All(vec![Self::Ask { field, compare, mask, value }, side.of(&end)])
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

/// The filter needs more than the kernel's tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// This many tests.
    #[error(
        "the filter needs {0} tests and {MAX_TESTS} are possible: name fewer addresses or ports"
    )]
    Tests(usize),
    /// This many operations.
    #[error(
        "the filter calculates with {0} operations and {MAX_OPERATIONS} are possible: \
             calculate less"
    )]
    Operations(usize),
}

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
    /// The packet from its IP header on; of what is not IP what follows the frame's.
    pub ip: &'a [u8],
    /// Bytes before the transport's header; `None` where there is none.
    pub transport: Option<usize>,
}

/// A number that a packet does not give.
enum Unread {
    /// Then the test does not hold.
    NoHeader,
    /// It ends before, or that would divide by zero. Then it does not match.
    NoMatch,
}

impl Seen<'_> {
    fn value(&self, field: Field) -> Result<u32, Unread> {
        match field {
            Field::Bytes { layer, offset, size } => self.bytes(layer, u32::from(offset), size),
            Field::Calculated(calculation) => self.calculated(&calculation),
            _ => Ok(self.fields[usize::from(field.number())]),
        }
    }

    fn bytes(&self, layer: Layer, offset: u32, size: u8) -> Result<u32, Unread> {
        let begin = match layer {
            Layer::Link if self.link.is_empty() => return Err(Unread::NoHeader),
            Layer::Link => 0,
            Layer::Network => self.link.len(),
            Layer::Transport => self.link.len() + self.transport.ok_or(Unread::NoHeader)?,
        };
        let mut bytes = self.link.iter().chain(self.ip).skip(begin + offset as usize);
        let number =
            (0..size).try_fold(0, |sum: u32, _| Some(sum << 8 | u32::from(*bytes.next()?)));
        number.ok_or(Unread::NoMatch)
    }

    fn calculated(&self, calculation: &Calculation) -> Result<u32, Unread> {
        let mut registers = [0; Calculation::REGISTERS as usize];
        for operation in calculation.operations() {
            let by = match operation.by {
                Operand::Register(from) => registers[usize::from(from)],
                Operand::Value(value) => value,
            };
            let by = match (operation.operator, operation.operator.layer()) {
                (_, Some(layer)) => self.bytes(layer, by, operation.size)?,
                (Operator::Length, _) => self.fields[usize::from(Field::Length.number())],
                _ => by,
            };
            let to = &mut registers[usize::from(operation.to)];
            *to = operation.operator.apply(*to, by).ok_or(Unread::NoMatch)?;
        }
        Ok(registers[0])
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
            Err(Unread::NoMatch) => return false,
        };
    }
    at == Test::ACCEPT
}

#[cfg(test)]
mod libpcap_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
