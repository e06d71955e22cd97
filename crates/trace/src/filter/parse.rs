//! The grammar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use taproot_model::Frame;
use taproot_probes::trace::{Compare, Field};

use super::bytes::number;
use super::lex::{Token, tokens};
use super::link::{address, mac};
use super::{Expr, FilterError, Side, names};

/// Nested parentheses and negations, at most.
pub(super) const DEPTH: usize = 64;

pub(super) fn expression(text: &str) -> Result<Expr, FilterError> {
    let mut parser = Parser { text: text.to_owned(), tokens: tokens(text), ..Parser::default() };
    if parser.tokens.is_empty() {
        return Ok(Expr::All(Vec::new()));
    }
    let expr = parser.any()?;
    match parser.peek() {
        None => Ok(expr),
        Some(")") => Err(parser.wrong("this parenthesis was not opened", "take it away")),
        Some(_) => Err(parser.wrong("this does not go on", "write `and` or `or` before it")),
    }
}

/// What a bare value means: as the primitive before it (`host a or b`).
#[derive(Clone, Copy, Debug)]
struct Qualifier {
    protocol: Option<u32>,
    family: Option<u32>,
    side: Side,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Link,
}

/// The words, and how far they are understood.
#[derive(Default)]
pub(super) struct Parser {
    text: String,
    pub(super) tokens: Vec<Token>,
    pub(super) next: usize,
    last: Option<Qualifier>,
    pub(super) depth: usize,
}

/// A protocol by name: IP version or type of frame where it decides that, protocol number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    pub(super) name: &'static str,
    pub(super) family: Option<u32>,
    pub(super) number: Option<u32>,
}

impl Protocol {
    /// Packets of it.
    pub(super) fn expr(self) -> Expr {
        of_protocol(self.family, self.number)
    }
}

const fn protocol(name: &'static str, family: Option<u32>, number: Option<u32>) -> Protocol {
    Protocol { name, family, number }
}

pub(super) const PROTOCOLS: [Protocol; 15] = [
    protocol("ip", Some(4), None),
    protocol("ip6", Some(6), None),
    protocol("arp", Some(Field::frame(Frame::ARP)), None),
    protocol("rarp", Some(Field::frame(Frame::RARP)), None),
    protocol("tcp", None, Some(6)),
    protocol("udp", None, Some(17)),
    protocol("sctp", None, Some(132)),
    protocol("icmp", Some(4), Some(1)),
    protocol("icmp6", Some(6), Some(58)),
    protocol("igmp", Some(4), Some(2)),
    protocol("igrp", Some(4), Some(9)),
    protocol("esp", None, Some(50)),
    protocol("ah", None, Some(51)),
    protocol("pim", None, Some(103)),
    protocol("vrrp", Some(4), Some(112)),
];

/// What can be asked of a packet beyond pcap's words, and its length.
const NUMBERS: [(&str, Field, Compare); 6] = [
    ("netns", Field::Netns, Compare::Equal),
    ("ifindex", Field::Ifindex, Compare::Equal),
    ("mark", Field::Mark, Compare::Equal),
    ("reason", Field::Reason, Compare::Equal),
    ("less", Field::Length, Compare::AtMost),
    ("greater", Field::Length, Compare::AtLeast),
];

impl Parser {
    pub(super) fn peek(&self) -> Option<&str> {
        self.tokens.get(self.next).map(|token| token.text.as_str())
    }

    pub(super) fn take(&mut self, wanted: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| wanted.contains(&word));
        self.next += usize::from(found);
        found
    }

    /// An error at the next word.
    pub(super) fn wrong(&self, what: impl Into<String>, hint: impl Into<String>) -> FilterError {
        let end = self.text.chars().count();
        let at = self.tokens.get(self.next).map_or(end, |token| token.at);
        FilterError { what: what.into(), text: self.text.clone(), at, hint: hint.into() }
    }

    fn any(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.all()?];
        while self.take(&["or", "||"]) {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Any(parts) })
    }

    fn all(&mut self) -> Result<Expr, FilterError> {
        let mut parts = vec![self.negated()?];
        while self.take(&["and", "&&"]) {
            parts.push(self.negated()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::All(parts) })
    }

    fn negated(&mut self) -> Result<Expr, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.wrong("too deep", format!("at most {DEPTH} levels are possible")));
        }
        let expr = if self.take(&["not", "!"]) {
            Expr::Not(Box::new(self.negated()?))
        } else if self.peek() == Some("(") {
            self.grouped()?
        } else {
            self.primitive()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// What a parenthesis begins: conditions, or a calculation. Of two errors the one that
    /// got further is told.
    fn grouped(&mut self) -> Result<Expr, FilterError> {
        let (begin, depth) = (self.next, self.depth);
        let tried = self.is_at_number().then(|| self.relation());
        let error = match tried {
            Some(Ok(relation)) => return Ok(relation),
            Some(Err(error)) => Some(error),
            None => None,
        };
        (self.next, self.depth) = (begin + 1, depth);
        let inner = self.any().and_then(|inner| {
            let closed = self.take(&[")"]);
            let open = || self.wrong("a parenthesis is not closed", "write `)` here");
            if closed { Ok(inner) } else { Err(open()) }
        });
        inner.map_err(|other| error.filter(|error| error.at > other.at).unwrap_or(other))
    }

    fn primitive(&mut self) -> Result<Expr, FilterError> {
        let Some(word) = self.peek().map(str::to_owned) else {
            return Err(self.wrong("it ends too early", "a condition is missing here"));
        };
        if self.is_at_number() {
            return self.relation();
        }
        if let Some((_, field, compare)) = NUMBERS.iter().find(|(name, ..)| *name == word) {
            self.next += 1;
            let value = self.number()?;
            return Ok(Expr::Ask { field: *field, compare: *compare, mask: u32::MAX, value });
        }
        if self.take(&["proto"]) {
            let number = self.protocol_number()?;
            return Ok(of_protocol(None, Some(number)));
        }
        if let Some(expr) = self.frame(&word)? {
            return Ok(expr);
        }
        let Some(known) = PROTOCOLS.into_iter().find(|known| known.name == word) else {
            return self.qualified(false, None, None);
        };
        self.next += 1;
        let Protocol { family, number: None, .. } = known else {
            return self.qualified(true, known.family, known.number);
        };
        match self.peek().filter(|_| matches!(known.name, "ip" | "ip6")) {
            Some("proto") => {
                self.next += 1;
                let number = self.protocol_number()?;
                Ok(of_protocol(family, Some(number)))
            }
            Some("multicast") => {
                self.next += 1;
                Ok(multicast(known.name == "ip6"))
            }
            Some("broadcast") => Err(self.wrong(
                "which addresses are for everybody is not known",
                "ask for one: `dst host 10.0.0.255`, or for frames: `ether broadcast`",
            )),
            _ => self.qualified(true, family, None),
        }
    }

    /// A protocol of IP by number or name, with pcap's backslash or without.
    fn protocol_number(&mut self) -> Result<u32, FilterError> {
        let word = self.peek().unwrap_or_default().trim_start_matches('\\');
        let named = PROTOCOLS.iter().find(|known| known.name == word).and_then(|p| p.number);
        let Some(number) = named.or_else(|| number(word)) else {
            return Err(self.wrong("no protocol of IP", "write `tcp`, `udp`, ... or a number"));
        };
        self.next += 1;
        Ok(number)
    }

    /// `[src|dst] [host|net|port|portrange] VALUE`, or the protocol alone.
    pub(super) fn qualified(
        &mut self,
        has_protocol: bool,
        family: Option<u32>,
        protocol: Option<u32>,
    ) -> Result<Expr, FilterError> {
        let side = self.side();
        let kind = self.kind();
        if side.is_none() && kind.is_none() && has_protocol {
            return Ok(of_protocol(family, protocol));
        }
        let qualifier = match (side, kind, self.last) {
            (None, None, Some(last)) => last,
            _ => Qualifier {
                protocol,
                family,
                side: side.unwrap_or_default(),
                kind: kind.unwrap_or(Kind::Host),
            },
        };
        self.last = Some(qualifier);
        let value = self.value(qualifier, kind.is_some())?;
        let base = of_protocol(qualifier.family, qualifier.protocol);
        Ok(if base == Expr::All(Vec::new()) { value } else { base.and(value) })
    }

    pub(super) fn side(&mut self) -> Option<Side> {
        let first = match self.peek()? {
            "src" => Side::Source,
            "dst" => Side::Destination,
            _ => return None,
        };
        self.next += 1;
        let word = |at: usize| self.tokens.get(self.next + at).map(|t| t.text.as_str());
        let other = if first == Side::Source { "dst" } else { "src" };
        let joined = match (word(0), word(1)) {
            (Some("or"), Some(second)) if second == other => Side::Either,
            (Some("and"), Some(second)) if second == other => Side::Both,
            _ => return Some(first),
        };
        self.next += 2;
        Some(joined)
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.peek()? {
            "host" => Kind::Host,
            "net" => Kind::Net,
            "port" => Kind::Port,
            "portrange" => Kind::PortRange,
            _ => return None,
        };
        self.next += 1;
        Some(kind)
    }

    /// The address of a frame's end; a bare one after it means the same end.
    pub(super) fn link_address(&mut self, side: Side) -> Result<Expr, FilterError> {
        let qualifier = Qualifier { protocol: None, family: None, side, kind: Kind::Link };
        self.last = Some(qualifier);
        self.value(qualifier, true)
    }

    fn value(&mut self, q: Qualifier, named: bool) -> Result<Expr, FilterError> {
        let Some(word) = self.peek().map(str::to_owned) else {
            return Err(self.wrong("it ends too early", "an address or port is missing here"));
        };
        let expr = match q.kind {
            Kind::Host => match word.parse() {
                Ok(address) => Some(Expr::host(address, q.side)),
                Err(_) => names::host(&word, q.side),
            },
            Kind::Net => {
                let mask = self.mask();
                network(&word, mask).map(|(address, bits)| Expr::net(address, bits, q.side))
            }
            Kind::Link => mac(&word).map(|mac| address(mac, q.side)),
            Kind::Port => match word.parse() {
                Ok(port) => Some(Expr::ports(port, port, q.side)),
                Err(_) => names::service(&word, q.protocol, q.side),
            },
            Kind::PortRange => range(&word).map(|(a, b)| Expr::ports(a, b, q.side)),
        };
        let Some(expr) = expr else { return Err(self.bad_value(q.kind, named, &word)) };
        self.next += if q.kind == Kind::Net && self.mask().is_some() { 3 } else { 1 };
        Ok(expr)
    }

    /// The word after `NET mask`, which is not gone to before the network is understood.
    fn mask(&self) -> Option<&str> {
        let word = |at: usize| self.tokens.get(self.next + at).map(|token| token.text.as_str());
        word(2).filter(|_| word(1) == Some("mask"))
    }

    fn bad_value(&self, kind: Kind, named: bool, word: &str) -> FilterError {
        let (what, hint) = match kind {
            Kind::Host if named => (
                "no address",
                "write an IP address, or a name that is in /etc/hosts: no others are looked up",
            ),
            Kind::Host => (
                "no condition",
                "write `host 10.0.0.1`, `net 10.0.0.0/8`, `port 80`, `tcp`, ... or see --help",
            ),
            Kind::Net => ("no network", "write it as `10.0.0.0/8` or `fd00::/64`"),
            Kind::Link => ("no link address", "write it as `ether host 02:00:00:00:00:01`"),
            Kind::Port => ("no port", "write a number from 0 to 65535, or a name in /etc/services"),
            Kind::PortRange => ("no range of ports", "write it as `8000-8080`"),
        };
        self.wrong(format!("`{word}` is {what}"), hint)
    }
}

pub(super) fn of_protocol(family: Option<u32>, protocol: Option<u32>) -> Expr {
    // What is not IP has no protocol, which looks like number 0.
    let field = Field::Family;
    let any_ip = Expr::Ask { field, compare: Compare::AtMost, mask: u32::MAX, value: 6 };
    let family = match (family, protocol) {
        (Some(value), _) => Some(Expr::is(field, value)),
        (None, Some(0)) => Some(any_ip),
        _ => None,
    };
    let protocol = protocol.map(|value| Expr::is(Field::Protocol, value));
    Expr::All(family.into_iter().chain(protocol).collect())
}

/// Packets to a group of receivers. As libpcap has it, all of IPv4's addresses behind the
/// groups are among them.
fn multicast(is_v6: bool) -> Expr {
    if is_v6 {
        let groups = Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0);
        return Expr::net(groups.into(), 8, Side::Destination);
    }
    let (field, compare) = (Field::Destination(0), Compare::AtLeast);
    let value = Ipv4Addr::new(224, 0, 0, 0).to_bits();
    Expr::is(Field::Family, 4).and(Expr::Ask { field, compare, mask: u32::MAX, value })
}

/// `10.0.0.0/8`, `10.1` for `10.1.0.0/16`, or with a mask of its own.
fn network(word: &str, mask: Option<&str>) -> Option<(IpAddr, u8)> {
    let (address, bits) = word.split_once('/').unwrap_or((word, ""));
    let (address, most) = match address.parse() {
        Ok(address @ IpAddr::V4(_)) => (address, 32),
        Ok(address @ IpAddr::V6(_)) => (address, 128),
        Err(_) => short(address)?,
    };
    let bits = match mask {
        Some(mask) if bits.is_empty() => prefix(mask.parse().ok()?)?,
        Some(_) => return None,
        None if bits.is_empty() => most,
        None => bits.parse().ok()?,
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    (bits <= whole).then_some((address, bits))
}

/// The first one to three bytes of an IPv4 address, and how many bits they are.
fn short(word: &str) -> Option<(IpAddr, u8)> {
    let bytes: Vec<u8> = word.split('.').map(|byte| byte.parse().ok()).collect::<Option<_>>()?;
    let mut all = [0; 4];
    all.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some((Ipv4Addr::from(all).into(), bytes.len() as u8 * 8))
}

/// The length of a mask that has no holes.
fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() >= 32).then_some(bits.leading_ones() as u8)
}

fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}
