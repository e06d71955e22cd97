//! From conditions to tests that the kernel goes through, each at most once.

use std::collections::HashMap;

use taproot_probes::trace::{Calculation, MAX_OPERATIONS, MAX_TESTS, Test};

use super::{Expr, TooLong};

/// Where to go on. Tests are made from the last to the first, so that a target is
/// known before the test that names it; `Made` counts from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Target {
    Accept,
    Reject,
    Made(usize),
}

/// One test with its targets; equal ones are made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Draft {
    test: Test,
    yes: Target,
    no: Target,
}

#[derive(Default)]
struct Maker {
    made: Vec<Draft>,
    known: HashMap<Draft, Target>,
}

pub(super) fn tests(expr: &Expr) -> Result<Vec<Test>, TooLong> {
    let mut maker = Maker::default();
    let count = match maker.make(expr, Target::Accept, Target::Reject) {
        Target::Accept => return Ok(Vec::new()),
        // Nothing passes: one test that says no either way.
        Target::Reject => return Ok(vec![never()]),
        // What was made after the entry is not asked: a condition before it decides.
        Target::Made(entry) => entry + 1,
    };
    if count > MAX_TESTS {
        return Err(TooLong::Tests(count));
    }
    let number = |target| match target {
        Target::Accept => Test::ACCEPT,
        Target::Reject => Test::REJECT,
        Target::Made(from_end) => (count - 1 - from_end) as u8,
    };
    let finish =
        |draft: &Draft| Test { yes: number(draft.yes), no: number(draft.no), ..draft.test };
    let tests: Vec<Test> = maker.made[..count].iter().rev().map(finish).collect();
    match Calculation::operations_of(&tests) {
        operations if operations > MAX_OPERATIONS => Err(TooLong::Operations(operations)),
        _ => Ok(tests),
    }
}

fn never() -> Test {
    Test {
        field: taproot_probes::trace::Field::Family,
        compare: taproot_probes::trace::Compare::Equal,
        mask: 0,
        value: 1,
        yes: Test::REJECT,
        no: Test::REJECT,
    }
}

impl Maker {
    /// Makes the tests of a condition and returns where to enter it.
    fn make(&mut self, expr: &Expr, yes: Target, no: Target) -> Target {
        match expr {
            Expr::Ask { field, compare, mask, value } => {
                let test = Test {
                    field: *field,
                    compare: *compare,
                    mask: *mask,
                    value: *value,
                    yes: 0,
                    no: 0,
                };
                self.add(Draft { test, yes, no })
            }
            Expr::Not(inner) => self.make(inner, no, yes),
            Expr::All(parts) => {
                parts.iter().rev().fold(yes, |next, part| self.make(part, next, no))
            }
            Expr::Any(parts) => {
                parts.iter().rev().fold(no, |next, part| self.make(part, yes, next))
            }
        }
    }

    fn add(&mut self, draft: Draft) -> Target {
        if draft.yes == draft.no {
            return draft.yes;
        }
        *self.known.entry(draft).or_insert_with(|| {
            self.made.push(draft);
            Target::Made(self.made.len() - 1)
        })
    }
}
