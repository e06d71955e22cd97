//! Numbers in a packet's headers and what is calculated from them:
//! `ip[6:2] & 0x1fff != 0`, `tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420`.

use taproot_probes::trace::{Layer, Operator};

use super::calculate::{self, Number};
use super::parse::{DEPTH, PROTOCOLS, Parser};
use super::{Expr, FilterError};

/// Numbers by name: TCP's flags, types of ICMP for IPv4 and IPv6, offsets.
const NAMES: [(&str, u32); 35] = [
    ("tcpflags", 13),
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp6type", 0),
    ("icmp6code", 1),
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

/// Signs between two numbers, and how tightly they bind.
const OPERATORS: [(&str, u8, Operator); 10] = [
    ("|", 1, Operator::Or),
    ("^", 2, Operator::Xor),
    ("&", 3, Operator::And),
    ("<<", 4, Operator::ShiftLeft),
    (">>", 4, Operator::ShiftRight),
    ("+", 5, Operator::Add),
    ("-", 5, Operator::Subtract),
    ("*", 6, Operator::Multiply),
    ("/", 6, Operator::Divide),
    ("%", 6, Operator::Modulo),
];

const COMPARISONS: [&str; 7] = ["=", "==", "!=", ">", ">=", "<", "<="];

impl Parser {
    /// Whether a number begins here, with whatever signs before it. A bare one may stand
    /// for a port, too (`port 53 or 67`).
    pub(super) fn is_at_number(&self) -> bool {
        let word = |at: usize| self.tokens.get(at).map(|token| token.text.as_str());
        let mut at = self.next;
        while matches!(word(at), Some("(" | "-")) {
            at += 1;
        }
        let next = word(at + 1);
        let goes_on = next.is_some_and(|sign| {
            COMPARISONS.contains(&sign) || OPERATORS.iter().any(|(known, ..)| *known == sign)
        });
        match word(at) {
            Some("len") => true,
            Some(name) if next == Some("[") => header(name).is_some(),
            Some(text) => number(text).is_some() && (goes_on || at > self.next),
            None => false,
        }
    }

    /// Two numbers compared.
    pub(super) fn relation(&mut self) -> Result<Expr, FilterError> {
        let begin = self.next;
        let left = self.calculation(0)?;
        let sign = self.peek().unwrap_or_default().to_owned();
        if !self.take(&COMPARISONS) {
            return Err(self.wrong("a comparison is missing", "write `== 0`, `!= 0` or the like"));
        }
        let right = self.calculation(0)?;
        calculate::compare(left, &sign, right).ok_or_else(|| {
            self.next = begin;
            self.wrong(
                "this calculation is too long",
                "at most 16 steps are possible, and 4 numbers that wait: take it apart with `and`",
            )
        })
    }

    /// Numbers joined by operators that bind more tightly than `above`.
    fn calculation(&mut self, above: u8) -> Result<Number, FilterError> {
        let mut left = self.operand()?;
        while let Some(&(_, binds, operator)) =
            OPERATORS.iter().find(|(sign, ..)| self.peek() == Some(sign))
            && binds > above
        {
            self.next += 1;
            let right = self.calculation(binds)?;
            left = Number::of(operator, left, right).ok_or_else(|| {
                self.wrong("this divides by zero", "no packet could match: take it out")
            })?;
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Number, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.wrong("too deep", format!("at most {DEPTH} levels are possible")));
        }
        let number = if self.take(&["-"]) {
            self.operand()?.negated()
        } else if self.take(&["("]) {
            let inner = self.calculation(0)?;
            if !self.take(&[")"]) {
                return Err(self.wrong("a parenthesis is not closed", "write `)` here"));
            }
            inner
        } else if self.take(&["len"]) {
            Number::Length
        } else {
            self.known_or_read()?
        };
        self.depth -= 1;
        Ok(number)
    }

    /// A number as it stands, or bytes of a header: `P [ OFFSET : SIZE ]`.
    fn known_or_read(&mut self) -> Result<Number, FilterError> {
        let Some(of) = self.peek().and_then(header) else {
            return self.number().map(Number::Known);
        };
        self.next += 1;
        if !self.take(&["["]) {
            return Err(self.wrong("an offset is missing", "write it as in `ip[6:2]`"));
        }
        let offset = self.calculation(0)?;
        let size = if self.take(&[":"]) { self.size()? } else { 1 };
        if !self.take(&["]"]) {
            return Err(self.wrong("a bracket is not closed", "write `]` here"));
        }
        Ok(Number::Bytes { of: Box::new(of), offset: Box::new(offset), size })
    }

    fn size(&mut self) -> Result<u8, FilterError> {
        let size = self.peek().and_then(|size| size.parse().ok());
        let Some(size) = size.filter(|size| [1, 2, 4].contains(size)) else {
            return Err(self.wrong("this size is not possible", "1, 2 and 4 bytes are: `ip[6:2]`"));
        };
        self.next += 1;
        Ok(size)
    }

    pub(super) fn number(&mut self) -> Result<u32, FilterError> {
        let Some(value) = self.peek().and_then(number) else {
            return Err(self.wrong("a number is missing", "write it as `6` or `0x6`"));
        };
        self.next += 1;
        Ok(value)
    }
}

/// A header whose bytes can be asked for, and which packets have it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) name: &'static str,
    pub(super) layer: Layer,
    pub(super) has_it: Expr,
}

fn header(name: &str) -> Option<Header> {
    if let Some(name) = ["ether", "link"].into_iter().find(|known| *known == name) {
        return Some(Header { name, layer: Layer::Link, has_it: Expr::All(Vec::new()) });
    }
    let known = PROTOCOLS.iter().find(|known| known.name == name)?;
    let layer = if known.number.is_some() { Layer::Transport } else { Layer::Network };
    Some(Header { name: known.name, layer, has_it: known.expr() })
}

/// A number as it is written, or by its name.
pub(super) fn number(word: &str) -> Option<u32> {
    let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    named.or_else(|| match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    })
}
