//! From calculations to tests on fields where one is enough, else to operations.

use taproot_probes::trace::{Calculation, Compare, Field, Layer, Operand, Operation, Operator};

use super::Expr;
use super::bytes::Header;

/// A number in a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    /// As it is written.
    Known(u32),
    /// The packet's length.
    Length,
    /// Bytes of a header.
    Bytes {
        /// Which.
        of: Box<Header>,
        /// From its beginning.
        offset: Box<Number>,
        /// 1, 2 or 4.
        size: u8,
    },
    /// Two of them.
    Two(Operator, Box<Number>, Box<Number>),
}

impl Number {
    /// Two numbers joined; `None` where that divides by zero whatever the packet holds.
    pub(super) fn of(operator: Operator, left: Self, right: Self) -> Option<Self> {
        match (left, right) {
            (Self::Known(left), Self::Known(right)) => operator.apply(left, right).map(Self::Known),
            (_, Self::Known(0)) if matches!(operator, Operator::Divide | Operator::Modulo) => None,
            (left, right) => Some(Self::Two(operator, Box::new(left), Box::new(right))),
        }
    }

    pub(super) fn negated(self) -> Self {
        match self {
            Self::Known(value) => Self::Known(value.wrapping_neg()),
            other => {
                Self::Two(Operator::Multiply, Box::new(other), Box::new(Self::Known(u32::MAX)))
            }
        }
    }

    /// Which packets have all that it is made of.
    fn conditions(&self, out: &mut Vec<Expr>) {
        match self {
            Self::Known(_) | Self::Length => {}
            Self::Bytes { of, offset, .. } => {
                offset.conditions(out);
                if !out.contains(&of.has_it) {
                    out.push(of.has_it.clone());
                }
            }
            Self::Two(_, left, right) => {
                left.conditions(out);
                right.conditions(out);
            }
        }
    }

    /// The field that it is, as it stands.
    fn field(&self) -> Option<Field> {
        match self {
            Self::Length => Some(Field::Length),
            Self::Bytes { of, offset, size } => {
                let Self::Known(offset) = **offset else { return None };
                let offset = u16::try_from(offset).ok()?;
                Some(match (of.name, offset, size) {
                    // These are asked for without another look at the packet.
                    ("tcp", 13, 1) => Field::TcpFlags,
                    ("ip", 8, 1) | ("ip6", 7, 1) => Field::Ttl,
                    _ => Field::Bytes { layer: of.layer, offset, size: *size },
                })
            }
            _ => None,
        }
    }

    /// The field and the bits of it that it is.
    fn masked(&self) -> Option<(Field, u32)> {
        match self {
            Self::Two(Operator::And, left, right) => match (&**left, &**right) {
                (number, Self::Known(mask)) | (Self::Known(mask), number) => {
                    number.field().map(|field| (field, *mask))
                }
                _ => None,
            },
            _ => self.field().map(|field| (field, u32::MAX)),
        }
    }

    /// Registers that it takes (Ershov's number): of two parts the one that takes more
    /// comes first.
    fn registers(&self) -> u8 {
        match self {
            Self::Known(_) | Self::Length => 1,
            Self::Bytes { offset, .. } => offset.registers(),
            Self::Two(_, left, right) => match (left.registers(), right.registers()) {
                (left, _) if matches!(**right, Self::Known(_)) => left,
                (left, right) if left == right => left + 1,
                (left, right) => left.max(right),
            },
        }
    }

    /// Operations that leave it in this register, and leave those below alone.
    fn operations(&self, to: u8, out: &mut Vec<Operation>) {
        let mut push = |operator, to, by, size| out.push(Operation { operator, to, by, size });
        match self {
            Self::Known(value) => push(Operator::Set, to, Operand::Value(*value), 0),
            Self::Length => push(Operator::Length, to, Operand::Value(0), 0),
            Self::Bytes { of, offset, size } => {
                let operator = match of.layer {
                    Layer::Link => Operator::Link,
                    Layer::Network => Operator::Network,
                    Layer::Transport => Operator::Transport,
                };
                if let Self::Known(offset) = **offset {
                    return push(operator, to, Operand::Value(offset), *size);
                }
                offset.operations(to, out);
                out.push(Operation { operator, to, by: Operand::Register(to), size: *size });
            }
            Self::Two(operator, left, right) => {
                let (operator, next) = (*operator, to + 1);
                if let Self::Known(value) = **right {
                    left.operations(to, out);
                    out.push(Operation { operator, to, by: Operand::Value(value), size: 0 });
                } else if right.registers() > left.registers() {
                    right.operations(to, out);
                    left.operations(next, out);
                    out.push(Operation { operator, to: next, by: Operand::Register(to), size: 0 });
                    let operator = Operator::Set;
                    out.push(Operation { operator, to, by: Operand::Register(next), size: 0 });
                } else {
                    left.operations(to, out);
                    right.operations(next, out);
                    out.push(Operation { operator, to, by: Operand::Register(next), size: 0 });
                }
            }
        }
    }

    /// As a field that is calculated; `None` where it is too long for that.
    fn calculated(&self) -> Option<Field> {
        let mut operations = Vec::new();
        self.operations(0, &mut operations);
        Calculation::of(&operations).map(Field::Calculated)
    }
}

/// Two numbers compared by a sign; `None` where the calculation is too long. Where a
/// header is missing no comparison holds, not even `!=`: none is a negation.
pub(super) fn compare(left: Number, sign: &str, right: Number) -> Option<Expr> {
    let (left, sign, right) = match (left, right) {
        (Number::Known(left), Number::Known(right)) => return Some(known(left, sign, right)),
        (left @ Number::Known(_), right) => (right, mirrored(sign), left),
        (left, right) => (left, sign, right),
    };
    let mut all = Vec::new();
    left.conditions(&mut all);
    right.conditions(&mut all);
    let held = match (left.masked(), right) {
        (Some((field, mask)), Number::Known(value)) => {
            // A piece of a packet without TCP's header has no flags.
            all.extend((field == Field::TcpFlags).then(|| Expr::is(Field::Ports, 1)));
            with_value(field, mask, sign, value)
        }
        (None, Number::Known(value)) if sign != "!=" || value == 0 => {
            with_value(left.calculated()?, u32::MAX, sign, value)
        }
        (_, right) => with_other(left, sign, right)?,
    };
    all.push(held);
    Some(Expr::All(all))
}

fn known(left: u32, sign: &str, right: u32) -> Expr {
    let holds = match sign {
        "!=" => left != right,
        ">=" => left >= right,
        "<=" => left <= right,
        ">" => left > right,
        "<" => left < right,
        _ => left == right,
    };
    if holds { Expr::All(Vec::new()) } else { Expr::Any(Vec::new()) }
}

fn mirrored(sign: &str) -> &str {
    match sign {
        ">=" => "<=",
        "<=" => ">=",
        ">" => "<",
        "<" => ">",
        same => same,
    }
}

fn with_value(field: Field, mask: u32, sign: &str, value: u32) -> Expr {
    let ask = |compare, value| Expr::Ask { field, compare, mask, value };
    // Not decided without the packet: bytes that it has not are an answer of their own.
    let never = || Expr::Not(Box::new(ask(Compare::AtLeast, 0)));
    match sign {
        "!=" if value == 0 => {
            Expr::Ask { field, compare: Compare::AnyBit, mask: u32::MAX, value: mask }
        }
        "!=" => ask(Compare::AtLeast, 0).and(Expr::Not(Box::new(ask(Compare::Equal, value)))),
        ">=" => ask(Compare::AtLeast, value),
        "<=" => ask(Compare::AtMost, value),
        ">" => value.checked_add(1).map_or_else(never, |more| ask(Compare::AtLeast, more)),
        "<" => value.checked_sub(1).map_or_else(never, |less| ask(Compare::AtMost, less)),
        _ => ask(Compare::Equal, value),
    }
}

/// The comparison is the calculation's last step.
fn with_other(left: Number, sign: &str, right: Number) -> Option<Expr> {
    let (operator, holds) = match sign {
        "!=" => (Operator::Equal, 0),
        ">=" => (Operator::AtLeast, 1),
        "<=" => (Operator::Greater, 0),
        ">" => (Operator::Greater, 1),
        "<" => (Operator::AtLeast, 0),
        _ => (Operator::Equal, 1),
    };
    let both = Number::Two(operator, Box::new(left), Box::new(right));
    both.calculated().map(|field| Expr::is(field, holds))
}
