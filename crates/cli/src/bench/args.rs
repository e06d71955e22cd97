//! Flags of the bench.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::units;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// File for the figures, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Measure only one part.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Part>,
    /// How often everything is measured, with and without Taproot in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Requests of a load with a connection each; four times as many over kept connections.
    #[arg(long, default_value_t = 12_500, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) requests: u64,
    /// Time of each load at a fixed rate.
    #[arg(long = "for", default_value = "8s", value_parser = units::duration)]
    pub(crate) time: Duration,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The agent, beside nginx under load.
    Agent,
    /// The trace, beside and in the packets' way.
    Trace,
}

#[derive(Debug, Args)]
pub(crate) struct BenchClientArgs {
    /// Server.
    pub(crate) addr: SocketAddr,
    /// Requests a second.
    #[arg(long)]
    pub(crate) rate: f64,
    /// How long.
    #[arg(long = "for", value_parser = units::duration)]
    pub(crate) time: Duration,
}
