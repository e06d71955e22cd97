//! Numbers that a filter calculates from those in a packet.

use super::raw::{Field, Layer, Test};
use super::skeleton::types::trace_operation;

/// `TRACE_VALUE`.
const VALUE: u8 = 255;

/// What an operation does with its register and its operand (`enum trace_operator`).
/// Numbers have 32 bits and no sign, and go round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Takes the operand.
    Set,
    /// Sum.
    Add,
    /// Difference.
    Subtract,
    /// Product.
    Multiply,
    /// Quotient. A packet for which the operand is zero does not match.
    Divide,
    /// Rest, likewise.
    Modulo,
    /// Bits of both.
    And,
    /// Bits of one or both.
    Or,
    /// Bits of one.
    Xor,
    /// By 32 or more bits: zero.
    ShiftLeft,
    /// Likewise.
    ShiftRight,
    /// 1 where both are equal, else 0.
    Equal,
    /// 1 where the register is more.
    Greater,
    /// 1 where the register is not less.
    AtLeast,
    /// The length of the IP packet, whatever the operand.
    Length,
    /// Bytes from the beginning of a frame's header, the operand being their offset.
    Link,
    /// Of IP's header.
    Network,
    /// Of the transport's.
    Transport,
}

/// What an operation is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register's number.
    Register(u8),
    /// This one.
    Value(u32),
}

/// One step of a calculation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// What is done.
    pub operator: Operator,
    /// To which register.
    pub to: u8,
    /// With what.
    pub by: Operand,
    /// Bytes that are read: 1, 2 or 4; 0 for what reads none.
    pub size: u8,
}

/// Operations one after the other; the result is in the first register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Calculation {
    operations: [Operation; Self::LONGEST],
    used: usize,
}

impl Operator {
    /// What the kernel makes of two numbers. `None`: the packet does not match.
    ///
    /// Of what reads the packet the operand.
    pub fn apply(self, register: u32, operand: u32) -> Option<u32> {
        Some(match self {
            Self::Add => register.wrapping_add(operand),
            Self::Subtract => register.wrapping_sub(operand),
            Self::Multiply => register.wrapping_mul(operand),
            Self::Divide => register.checked_div(operand)?,
            Self::Modulo => register.checked_rem(operand)?,
            Self::And => register & operand,
            Self::Or => register | operand,
            Self::Xor => register ^ operand,
            Self::ShiftLeft => register.checked_shl(operand).unwrap_or(0),
            Self::ShiftRight => register.checked_shr(operand).unwrap_or(0),
            Self::Equal => u32::from(register == operand),
            Self::Greater => u32::from(register > operand),
            Self::AtLeast => u32::from(register >= operand),
            Self::Set | Self::Length | Self::Link | Self::Network | Self::Transport => operand,
        })
    }

    /// The header whose bytes it reads.
    pub fn layer(self) -> Option<Layer> {
        match self {
            Self::Link => Some(Layer::Link),
            Self::Network => Some(Layer::Network),
            Self::Transport => Some(Layer::Transport),
            _ => None,
        }
    }
}

impl Calculation {
    /// Operations that one may have.
    pub const LONGEST: usize = 16;
    /// Registers that there are (`TRACE_REGISTERS`).
    pub const REGISTERS: u8 = 4;

    /// Of these operations; `None` where they are too many, or name registers that are
    /// not there.
    pub fn of(operations: &[Operation]) -> Option<Self> {
        let is_there = |register| register < Self::REGISTERS;
        let fits = |operation: &Operation| {
            let by = match operation.by {
                Operand::Register(from) => is_there(from),
                Operand::Value(_) => true,
            };
            by && is_there(operation.to)
        };
        let nothing = Operation { operator: Operator::Set, to: 0, by: Operand::Value(0), size: 0 };
        let mut all = [nothing; Self::LONGEST];
        all.get_mut(..operations.len())?.copy_from_slice(operations);
        operations.iter().all(fits).then_some(Self { operations: all, used: operations.len() })
    }

    /// Its operations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations[..self.used]
    }

    /// How many operations a filter's tests need in all.
    pub fn operations_of(tests: &[Test]) -> usize {
        let mut all = Vec::new();
        for test in tests {
            if let Field::Calculated(calculation) = test.field {
                calculation.enter(&mut all);
            }
        }
        all.len()
    }

    pub(super) fn reads(&self, layer: Layer) -> bool {
        self.operations().iter().any(|operation| operation.operator.layer() == Some(layer))
    }

    /// Enters them into the table of all, where an equal row may be already. The first
    /// one's number, and how many they are.
    pub(super) fn enter(&self, table: &mut Vec<trace_operation>) -> (u16, u16) {
        let own: Vec<_> = self.operations().iter().map(|operation| operation.to_raw()).collect();
        let same = |row: &[trace_operation]| row.iter().zip(&own).all(|(a, b)| is_same(*a, *b));
        let known = table.windows(own.len().max(1)).position(same);
        let first = known.unwrap_or(table.len());
        if known.is_none() {
            table.extend(&own);
        }
        (first as u16, own.len() as u16)
    }
}

fn is_same(a: trace_operation, b: trace_operation) -> bool {
    (a.value, a.operator, a.to, a.from, a.size) == (b.value, b.operator, b.to, b.from, b.size)
}

impl Operation {
    fn to_raw(self) -> trace_operation {
        let (from, value) = match self.by {
            Operand::Register(from) => (from, 0),
            Operand::Value(value) => (VALUE, value),
        };
        let operator = self.operator as u8;
        trace_operation { value, operator, to: self.to, from, size: self.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(to: u8, value: u32) -> Operation {
        Operation { operator: Operator::Set, to, by: Operand::Value(value), size: 0 }
    }

    #[test]
    fn equal_calculations_are_entered_once() {
        let (one, two) = ([set(0, 1), set(1, 2)], [set(0, 3)]);
        let (one, two) = (Calculation::of(&one).unwrap(), Calculation::of(&two).unwrap());
        let mut table = Vec::new();
        assert_eq!(one.enter(&mut table), (0, 2));
        assert_eq!(two.enter(&mut table), (2, 1));
        assert_eq!((one.enter(&mut table), two.enter(&mut table)), ((0, 2), (2, 1)));
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn what_does_not_fit_is_no_calculation() {
        assert_eq!(Calculation::of(&[set(4, 1)]), None, "no such register");
        let from = Operation { by: Operand::Register(9), ..set(0, 0) };
        assert_eq!(Calculation::of(&[from]), None);
        assert_eq!(Calculation::of(&[set(0, 1); Calculation::LONGEST + 1]), None);
        assert!(Calculation::of(&[set(0, 1); Calculation::LONGEST]).is_some());
    }
}
