//! The few command-line flags of the tasks, without a dependency.

use std::collections::VecDeque;
use std::str::FromStr;

use anyhow::{Context, Result};

/// Arguments not yet consumed, in order.
#[derive(Debug)]
pub(crate) struct Args(VecDeque<String>);

impl Args {
    /// These arguments.
    #[cfg(test)]
    pub(crate) fn of(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// The arguments of this process, without the program's name.
    pub(crate) fn from_env() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// The next argument.
    pub(crate) fn next(&mut self) -> Option<String> {
        self.0.pop_front()
    }

    /// The value that must follow the flag just read.
    pub(crate) fn value(&mut self, flag: &str) -> Result<String> {
        self.next().with_context(|| format!("{flag} needs a value"))
    }

    /// Like [`Args::value`], parsed.
    pub(crate) fn parsed<T: FromStr>(&mut self, flag: &str) -> Result<T>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let value = self.value(flag)?;
        value.parse().with_context(|| format!("{flag}: `{value}` is not a number"))
    }

    /// All that is left.
    pub(crate) fn rest(self) -> Vec<String> {
        self.0.into()
    }
}
