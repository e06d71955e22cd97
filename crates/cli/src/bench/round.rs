//! One round: the same load without and with Taproot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use taproot_probes::cost::{RunTime, RunTimes, run_times};

use super::args::BenchArgs;
use super::client::{self, Latency};
use super::load::{self, Kind, Reached};
use super::site::Site;
use super::taproot::{Memory, Taproot};

/// Longest time the agent takes to report the last requests: one interval and some.
const REPORTED: std::time::Duration = std::time::Duration::from_millis(1500);

/// The loads under one condition.
#[derive(Debug)]
pub(super) struct Side {
    /// At full speed, as [`Kind::ALL`].
    pub(super) full: Vec<Reached>,
    /// At half of it.
    pub(super) half: Latency,
}

/// What one kind of load cost Taproot.
#[derive(Debug)]
pub(super) struct Cost {
    /// CPU time of the process, µs per request.
    pub(super) agent_us: f64,
    /// Of each BPF program, in a load of its own of so many requests.
    pub(super) programs: BTreeMap<String, RunTime>,
    pub(super) program_requests: u64,
    /// What measuring adds to each run, nanoseconds.
    pub(super) overhead: f64,
}

impl Cost {
    /// Nanoseconds that a program really took.
    pub(super) fn nanos(&self, time: RunTime) -> f64 {
        (time.nanos as f64 - time.runs as f64 * self.overhead).max(0.0)
    }
}

/// Everything one round found.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) without: Side,
    pub(super) with: Side,
    pub(super) costs: Vec<Cost>,
    /// CPU time of the process without load, seconds a second.
    pub(super) idle: f64,
    pub(super) memory: Memory,
    pub(super) first: f64,
    /// Requests that nginx served, and by how many the two ends miscounted.
    pub(super) served: u64,
    pub(super) miscounted: u64,
}

/// How rounds are made.
pub(super) struct Plan<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) site: &'a Site,
    /// Half of saturation, requests a second.
    pub(super) rate: f64,
    pub(super) interrupted: &'a AtomicBool,
}

impl Plan<'_> {
    /// Odd rounds begin without Taproot, even ones with it.
    pub(super) fn round(&self, number: u32) -> Result<Round> {
        if number % 2 == 1 {
            let without = self.side()?;
            self.with_taproot(number, || Ok(without))
        } else {
            self.with_taproot(number, || self.side())
        }
    }

    fn with_taproot(&self, number: u32, without: impl FnOnce() -> Result<Side>) -> Result<Round> {
        let file = self.site.dir.path().join(format!("round-{number}.taproot"));
        let served_before = self.site.served()?;
        let taproot = Taproot::start(&file)?;
        let first = taproot.first;
        let idle = self.idle(&taproot)?;
        let (with, agent) = self.watched_side(&taproot)?;
        let mut costs = Vec::new();
        for (kind, agent_us) in Kind::ALL.into_iter().zip(agent) {
            costs.push(self.cost(&taproot, kind, agent_us)?);
        }
        std::thread::sleep(REPORTED);
        let memory = taproot.memory()?;
        // The question before is not counted by the one before it.
        let served = self.site.served()? - served_before - 1;
        let counted = taproot.stop()?;
        std::fs::remove_file(&file)?;
        let miscounted = counted.off(served);
        Ok(Round { without: without()?, with, costs, idle, memory, first, served, miscounted })
    }

    /// The loads as they are.
    fn side(&self) -> Result<Side> {
        let mut full = Vec::new();
        for kind in Kind::ALL {
            full.push(self.load(kind)?);
        }
        let half = client::run(self.site, self.rate, self.args.time)?;
        Ok(Side { full, half })
    }

    /// The loads, and what CPU time Taproot took for each request of those at full speed.
    fn watched_side(&self, taproot: &Taproot) -> Result<(Side, Vec<f64>)> {
        let (mut full, mut agent) = (Vec::new(), Vec::new());
        for kind in Kind::ALL {
            let before = taproot.cpu()?;
            let reached = self.load(kind)?;
            agent.push((taproot.cpu()? - before) * 1e6 / reached.requests as f64);
            full.push(reached);
        }
        let half = client::run(self.site, self.rate, self.args.time)?;
        Ok((Side { full, half }, agent))
    }

    /// Run times in a load of their own, because measuring them costs by itself.
    fn cost(&self, taproot: &Taproot, kind: Kind, agent_us: f64) -> Result<Cost> {
        let measuring = RunTimes::measure()?;
        let overhead = measuring.overhead()?;
        let before = run_times(taproot.pid())?;
        let reached = self.load(kind)?;
        let mut programs = run_times(taproot.pid())?;
        drop(measuring);
        for (name, time) in &mut programs {
            let start = before.get(name).copied().unwrap_or_default();
            time.runs -= start.runs;
            time.nanos -= start.nanos;
        }
        Ok(Cost { agent_us, programs, program_requests: reached.requests, overhead })
    }

    fn idle(&self, taproot: &Taproot) -> Result<f64> {
        self.go_on()?;
        let begin = std::time::Instant::now();
        let before = taproot.cpu()?;
        std::thread::sleep(self.args.time.min(std::time::Duration::from_secs(5)));
        Ok((taproot.cpu()? - before) / begin.elapsed().as_secs_f64())
    }

    fn load(&self, kind: Kind) -> Result<Reached> {
        self.go_on()?;
        load::run(self.site, kind, self.args.requests)
    }

    fn go_on(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted; nothing is left behind");
        }
        Ok(())
    }
}

/// Half of what this machine reaches over kept connections without Taproot.
pub(super) fn half_of_saturation(site: &Site, requests: u64) -> Result<f64> {
    Ok(load::run(site, Kind::KeepAlive, requests)?.rate / 2.0)
}
