//! The grammar.

use std::net::IpAddr;

use taproot_probes::trace::{Compare, Field};

use super::lex::{Token, tokens};
use super::{Expr, FilterError, Side};

/// Nested parentheses and negations, at most.
const DEPTH: usize = 64;

pub(super) fn expression(text: &str) -> Result<Expr, FilterError> {
    let mut parser =
        Parser { text: text.to_owned(), tokens: tokens(text), next: 0, last: None, depth: 0 };
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
}

struct Parser {
    text: String,
    tokens: Vec<Token>,
    next: usize,
    last: Option<Qualifier>,
    depth: usize,
}

/// Protocols by name: IP version where it decides that, protocol number.
const PROTOCOLS: [(&str, Option<u32>, Option<u32>); 7] = [
    ("ip", Some(4), None),
    ("ip6", Some(6), None),
    ("tcp", None, Some(6)),
    ("udp", None, Some(17)),
    ("sctp", None, Some(132)),
    ("icmp", Some(4), Some(1)),
    ("icmp6", Some(6), Some(58)),
];

/// Values by name: TCP's flags, ICMP's types.
const NAMES: [(&str, u32); 14] = [
    ("tcp-fin", 1),
    ("tcp-syn", 2),
    ("tcp-rst", 4),
    ("tcp-push", 8),
    ("tcp-ack", 16),
    ("tcp-urg", 32),
    ("tcp-ece", 64),
    ("tcp-cwr", 128),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
];

/// What can be asked of a packet beyond pcap's words, and its length.
const NUMBERS: [(&str, Field, Compare); 7] = [
    ("netns", Field::Netns, Compare::Equal),
    ("ifindex", Field::Ifindex, Compare::Equal),
    ("mark", Field::Mark, Compare::Equal),
    ("reason", Field::Reason, Compare::Equal),
    ("proto", Field::Protocol, Compare::Equal),
    ("less", Field::Length, Compare::AtMost),
    ("greater", Field::Length, Compare::AtLeast),
];

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.next).map(|token| token.text.as_str())
    }

    fn take(&mut self, wanted: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| wanted.contains(&word));
        self.next += usize::from(found);
        found
    }

    /// An error at the next word.
    fn wrong(&self, what: impl Into<String>, hint: impl Into<String>) -> FilterError {
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
        } else if self.take(&["("]) {
            let inner = self.any()?;
            if !self.take(&[")"]) {
                return Err(self.wrong("a parenthesis is not closed", "write `)` here"));
            }
            inner
        } else {
            self.primitive()?
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn primitive(&mut self) -> Result<Expr, FilterError> {
        let Some(word) = self.peek().map(str::to_owned) else {
            return Err(self.wrong("it ends too early", "a condition is missing here"));
        };
        if let Some((_, field, compare)) = NUMBERS.iter().find(|(name, ..)| *name == word) {
            self.next += 1;
            let value = self.number()?;
            return Ok(Expr::Ask { field: *field, compare: *compare, mask: u32::MAX, value });
        }
        if matches!(word.as_str(), "arp" | "rarp" | "ether" | "vlan" | "mpls" | "wlan") {
            return Err(self.wrong(
                format!("`{word}` is below IP"),
                "only IP packets are traced; ask for `ip` or `ip6`",
            ));
        }
        let protocol = PROTOCOLS.iter().find(|(name, ..)| *name == word);
        let (family, number) =
            protocol.map_or((None, None), |(_, family, number)| (*family, *number));
        if protocol.is_some() {
            self.next += 1;
            if self.take(&["["]) {
                return self.header_byte(&word, family, number);
            }
            if number.is_none() && self.take(&["proto"]) {
                let value = self.number()?;
                return Ok(of_protocol(family, Some(value)));
            }
        }
        self.qualified(protocol.is_some(), family, number)
    }

    /// `[src|dst] [host|net|port|portrange] VALUE`, or the protocol alone.
    fn qualified(
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

    fn side(&mut self) -> Option<Side> {
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

    fn value(&mut self, q: Qualifier, named: bool) -> Result<Expr, FilterError> {
        let Some(word) = self.peek().map(str::to_owned) else {
            return Err(self.wrong("it ends too early", "an address or port is missing here"));
        };
        let expr = match q.kind {
            Kind::Host => word.parse().ok().map(|address| Expr::host(address, q.side)),
            Kind::Net => network(&word).map(|(address, bits)| Expr::net(address, bits, q.side)),
            Kind::Port => word.parse().ok().map(|port| Expr::ports(port, port, q.side)),
            Kind::PortRange => range(&word).map(|(a, b)| Expr::ports(a, b, q.side)),
        };
        let Some(expr) = expr else { return Err(self.bad_value(q.kind, named, &word)) };
        self.next += 1;
        Ok(expr)
    }

    fn bad_value(&self, kind: Kind, named: bool, word: &str) -> FilterError {
        let (what, hint) = match kind {
            Kind::Host if named => ("no address", "write an IP address; names are not looked up"),
            Kind::Host => (
                "no condition",
                "write `host 10.0.0.1`, `net 10.0.0.0/8`, `port 80`, `tcp`, ... or see --help",
            ),
            Kind::Net => ("no network", "write it as `10.0.0.0/8` or `fd00::/64`"),
            Kind::Port => ("no port", "write a number from 0 to 65535"),
            Kind::PortRange => ("no range of ports", "write it as `8000-8080`"),
        };
        self.wrong(format!("`{word}` is {what}"), hint)
    }

    /// `tcp[tcpflags] & tcp-syn != 0`, after the bracket.
    fn header_byte(
        &mut self,
        word: &str,
        family: Option<u32>,
        protocol: Option<u32>,
    ) -> Result<Expr, FilterError> {
        let offset = self.peek().unwrap_or_default().to_owned();
        let field = match (word, offset.as_str()) {
            ("tcp", "tcpflags" | "13") => Field::TcpFlags,
            ("icmp", "icmptype" | "0") | ("icmp6", "icmp6type" | "0") => Field::IcmpType,
            ("icmp", "icmpcode" | "1") | ("icmp6", "icmp6code" | "1") => Field::IcmpCode,
            ("ip", "8") | ("ip6", "7") => Field::Ttl,
            _ => {
                return Err(self.wrong(
                    format!("`{word}[{offset}]` cannot be asked for"),
                    "possible are tcp[tcpflags], icmp[icmptype], icmp[icmpcode] and ip[8]",
                ));
            }
        };
        self.next += 1;
        if !self.take(&["]"]) {
            return Err(self.wrong("a bracket is not closed", "write `]` here"));
        }
        let mask = if self.take(&["&"]) { self.bits()? } else { u32::MAX };
        Ok(of_protocol(family, protocol).and(self.comparison(field, mask)?))
    }

    fn comparison(&mut self, field: Field, mask: u32) -> Result<Expr, FilterError> {
        let sign = self.peek().unwrap_or_default().to_owned();
        let known = ["=", "==", "!=", ">", ">=", "<", "<="];
        if !self.take(&known) {
            return Err(self.wrong("a comparison is missing", "write `== 0`, `!= 0` or the like"));
        }
        let value = self.bits()?;
        let ask = |compare, value| Expr::Ask { field, compare, mask, value };
        let not = |expr| Expr::Not(Box::new(expr));
        Ok(match sign.as_str() {
            "!=" if value == 0 && mask != u32::MAX => {
                Expr::Ask { field, compare: Compare::AnyBit, mask: u32::MAX, value: mask }
            }
            "!=" => not(ask(Compare::Equal, value)),
            ">=" => ask(Compare::AtLeast, value),
            "<=" => ask(Compare::AtMost, value),
            ">" => not(ask(Compare::AtMost, value)),
            "<" => not(ask(Compare::AtLeast, value)),
            _ => ask(Compare::Equal, value),
        })
    }

    /// A number, a named one, or several joined with `|`, in parentheses or not.
    fn bits(&mut self) -> Result<u32, FilterError> {
        let open = self.take(&["("]);
        let mut value = self.number()?;
        while self.take(&["|"]) {
            value |= self.number()?;
        }
        if open && !self.take(&[")"]) {
            return Err(self.wrong("a parenthesis is not closed", "write `)` here"));
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<u32, FilterError> {
        let word = self.peek().unwrap_or_default();
        let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        let plain = || match word.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => word.parse().ok(),
        };
        let Some(value) = named.or_else(plain) else {
            return Err(self.wrong("a number is missing", "write it as `6` or `0x6`"));
        };
        self.next += 1;
        Ok(value)
    }
}

fn of_protocol(family: Option<u32>, protocol: Option<u32>) -> Expr {
    let family = family.map(|value| Expr::is(Field::Family, value));
    let protocol = protocol.map(|value| Expr::is(Field::Protocol, value));
    Expr::All(family.into_iter().chain(protocol).collect())
}

fn network(word: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = word.split_once('/').unwrap_or((word, ""));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = if bits.is_empty() { most } else { bits.parse().ok()? };
    (bits <= most).then_some((address, bits))
}

fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}
