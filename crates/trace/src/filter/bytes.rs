//! Comparisons of numbers in a packet's headers: `ip[6:2] & 0x1fff != 0`.

use taproot_probes::trace::{Compare, Field, Layer};

use super::parse::{Parser, Protocol, of_protocol};
use super::{Expr, FilterError};

/// Values by name: TCP's flags, types of ICMP for IPv4 and IPv6.
const NAMES: [(&str, u32); 30] = [
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
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
];

/// Offsets by name.
const OFFSETS: [(&str, u16); 5] =
    [("tcpflags", 13), ("icmptype", 0), ("icmpcode", 1), ("icmp6type", 0), ("icmp6code", 1)];

impl Parser {
    /// `PROTOCOL [ OFFSET : SIZE ] & MASK COMPARISON`, after the first bracket.
    pub(super) fn bytes_of(&mut self, of: Protocol) -> Result<Expr, FilterError> {
        let layer = if of.number.is_some() { Layer::Transport } else { Layer::Network };
        let (offset, size) = self.place(of.name)?;
        let field = match (of.name, offset, size) {
            // These are asked for without another look at the packet.
            ("tcp", 13, 1) => Field::TcpFlags,
            ("ip", 8, 1) | ("ip6", 7, 1) => Field::Ttl,
            _ => Field::Bytes { layer, offset, size },
        };
        let comparison = self.masked(field)?;
        let is_first = (field == Field::TcpFlags).then(|| Expr::is(Field::Ports, 1));
        let base = of_protocol(of.family, of.number);
        Ok(Expr::All([Some(base), is_first, Some(comparison)].into_iter().flatten().collect()))
    }

    /// The same of a frame's header.
    pub(super) fn bytes_of_frame(&mut self) -> Result<Expr, FilterError> {
        let (offset, size) = self.place("ether")?;
        self.masked(Field::Bytes { layer: Layer::Link, offset, size })
    }

    /// `OFFSET : SIZE ]`.
    fn place(&mut self, of: &str) -> Result<(u16, u8), FilterError> {
        let text = self.peek().unwrap_or_default().to_owned();
        let (offset, size) = text.split_once(':').unwrap_or((&text, "1"));
        let named = || OFFSETS.iter().find(|(name, _)| *name == offset).map(|(_, at)| *at);
        let Some(offset) = offset.parse().ok().or_else(named) else {
            return Err(self.wrong(
                format!("`{of}[{text}]` cannot be asked for"),
                "write the offset as a number without calculations, as in `ip[6:2]`",
            ));
        };
        let Some(size) = size.parse().ok().filter(|size| [1, 2, 4].contains(size)) else {
            return Err(self.wrong("this size is not possible", "1, 2 and 4 bytes are: `ip[6:2]`"));
        };
        self.next += 1;
        if !self.take(&["]"]) {
            return Err(self.wrong("a bracket is not closed", "write `]` here"));
        }
        Ok((offset, size))
    }

    fn masked(&mut self, field: Field) -> Result<Expr, FilterError> {
        let mask = if self.take(&["&"]) { self.bits()? } else { u32::MAX };
        self.comparison(field, mask)
    }

    fn comparison(&mut self, field: Field, mask: u32) -> Result<Expr, FilterError> {
        let sign = self.peek().unwrap_or_default().to_owned();
        let known = ["=", "==", "!=", ">", ">=", "<", "<="];
        if !self.take(&known) {
            return Err(self.wrong("a comparison is missing", "write `== 0`, `!= 0` or the like"));
        }
        let value = self.bits()?;
        let ask = |compare, value| Expr::Ask { field, compare, mask, value };
        let never = || Expr::Any(Vec::new());
        // A negation would hold where there is no such header; a comparison does not.
        Ok(match sign.as_str() {
            "!=" if value == 0 => {
                Expr::Ask { field, compare: Compare::AnyBit, mask: u32::MAX, value: mask }
            }
            "!=" => ask(Compare::AtLeast, 0).and(Expr::Not(Box::new(ask(Compare::Equal, value)))),
            ">=" => ask(Compare::AtLeast, value),
            "<=" => ask(Compare::AtMost, value),
            ">" => value.checked_add(1).map_or_else(never, |more| ask(Compare::AtLeast, more)),
            "<" => value.checked_sub(1).map_or_else(never, |less| ask(Compare::AtMost, less)),
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

    pub(super) fn number(&mut self) -> Result<u32, FilterError> {
        let Some(value) = self.peek().and_then(number) else {
            return Err(self.wrong("a number is missing", "write it as `6` or `0x6`"));
        };
        self.next += 1;
        Ok(value)
    }
}

/// A number as it is written, or by its name.
pub(super) fn number(word: &str) -> Option<u32> {
    let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    named.or_else(|| match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    })
}
