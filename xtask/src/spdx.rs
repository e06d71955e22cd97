//! Licence expressions (SPDX 2.3, annex D), as far as crates use them: names,
//! `AND`, `OR`, `WITH`, parentheses, and the old "/" for "or".

use std::iter::Peekable;
use std::vec::IntoIter;

use anyhow::{Result, bail, ensure};

/// Whether a licence expression can be satisfied with the allowed names alone.
///
/// `WITH` binds an exception to its licence: the pair must be allowed as written
/// ("Apache-2.0 WITH LLVM-exception").
pub(crate) fn satisfied(expression: &str, allowed: &impl Fn(&str) -> bool) -> Result<bool> {
    let mut tokens = tokens(expression).into_iter().peekable();
    let verdict = any(&mut tokens, allowed)?;
    ensure!(tokens.next().is_none(), "trailing words in licence `{expression}`");
    Ok(verdict)
}

type Tokens = Peekable<IntoIter<String>>;

fn tokens(expression: &str) -> Vec<String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

fn any(tokens: &mut Tokens, allowed: &impl Fn(&str) -> bool) -> Result<bool> {
    let mut verdict = all(tokens, allowed)?;
    while tokens.next_if(|token| token == "OR").is_some() {
        verdict |= all(tokens, allowed)?;
    }
    Ok(verdict)
}

fn all(tokens: &mut Tokens, allowed: &impl Fn(&str) -> bool) -> Result<bool> {
    let mut verdict = one(tokens, allowed)?;
    while tokens.next_if(|token| token == "AND").is_some() {
        verdict &= one(tokens, allowed)?;
    }
    Ok(verdict)
}

fn one(tokens: &mut Tokens, allowed: &impl Fn(&str) -> bool) -> Result<bool> {
    match tokens.next().as_deref() {
        Some("(") => {
            let verdict = any(tokens, allowed)?;
            ensure!(tokens.next().as_deref() == Some(")"), "licence with an open parenthesis");
            Ok(verdict)
        }
        None | Some(")" | "AND" | "OR" | "WITH") => bail!("licence expression lacks a name"),
        Some(name) => {
            if tokens.next_if(|token| token == "WITH").is_none() {
                return Ok(allowed(name));
            }
            let exception = tokens.next().unwrap_or_default();
            Ok(allowed(&format!("{name} WITH {exception}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str) -> Option<bool> {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
        satisfied(expression, &|name: &str| allowed.contains(&name)).ok()
    }

    #[test]
    fn one_allowed_choice_is_enough() {
        assert_eq!(check("GPL-3.0 OR MIT"), Some(true));
        assert_eq!(check("GPL-3.0/MIT"), Some(true));
        assert_eq!(check("GPL-3.0 OR LGPL-2.1"), Some(false));
    }

    #[test]
    fn all_parts_of_a_conjunction_count() {
        assert_eq!(check("MIT AND GPL-3.0"), Some(false));
        assert_eq!(check("(MIT OR GPL-3.0) AND Apache-2.0"), Some(true));
        assert_eq!(check("MIT AND GPL-3.0 OR Apache-2.0"), Some(true), "AND binds closer");
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert_eq!(check("Apache-2.0 WITH LLVM-exception OR GPL-3.0"), Some(true));
        assert_eq!(check("GPL-2.0 WITH LLVM-exception"), Some(false));
    }

    #[test]
    fn nonsense_is_an_error_and_no_pass() {
        for broken in ["", "OR MIT", "(MIT", "MIT Apache-2.0", "MIT AND"] {
            assert_eq!(check(broken), None, "{broken}");
        }
    }
}
