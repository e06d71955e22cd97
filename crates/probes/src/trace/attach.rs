//! Attaches the hooks, tier by tier, and takes tiers off again.

use std::time::{Duration, Instant};

use libbpf_rs::skel::Skel;
use libbpf_rs::{KprobeMultiOpts, Link, ProgramMut};

use super::Tier;
use super::arguments::{Takes, functions_with};
use super::hooks::{ANY, FUNCTIONS};
use super::skeleton::TraceSkel;
use crate::{Attached, Off, attach_all};

/// How often the budget is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is attached, by tier; dropping it detaches.
#[derive(Default)]
pub(super) struct Attachments {
    tracepoints: Vec<Link>,
    functions: Vec<Link>,
    every: Vec<Link>,
    /// How many were attached at the start: functions one by one, functions at once.
    chosen: usize,
    watched: usize,
    looked: Option<Instant>,
    over: u64,
}

impl Attachments {
    /// Attaches what is loaded, and says what could not be.
    pub(super) fn attach(skel: &TraceSkel<'static>) -> (Self, Vec<Off>) {
        let optional: Vec<&str> =
            FUNCTIONS.iter().map(|(program, ..)| *program).chain([ANY]).collect();
        let Attached { links, mut off } = attach_all(skel, &optional);
        let mut done = Self { tracepoints: links, ..Self::default() };
        for program in skel.object().progs_mut().filter(|program| program.autoload()) {
            let name = program.name().to_string_lossy().into_owned();
            if name == ANY {
                let watched = every(&program);
                (done.every, done.watched) = (watched.links, watched.functions);
                off.extend(watched.off);
            } else if optional.contains(&name.as_str()) {
                match program.attach() {
                    Ok(link) => {
                        done.functions.push(link);
                        done.chosen += 1;
                    }
                    Err(error) => off.push(Off { program: name, why: error.to_string() }),
                }
            }
        }
        (done, off)
    }

    /// How many hooks of a tier were attached, whether or not they were taken off since.
    pub(super) fn count(&self, tier: Tier) -> usize {
        match tier {
            Tier::Tracepoint => self.tracepoints.len(),
            Tier::Function => self.chosen,
            Tier::Every => self.watched,
        }
    }

    /// Detaches everything.
    pub(super) fn clear(&mut self) {
        self.tracepoints.clear();
        self.functions.clear();
        self.every.clear();
    }

    /// Once a second: when the budget left hops out since the last look, takes off the
    /// dearest tier that is optional, and says which.
    pub(super) fn back_off(&mut self, over_budget: impl FnOnce() -> u64) -> Option<Tier> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let over = over_budget();
        let before = std::mem::replace(&mut self.over, over);
        if over <= before {
            None
        } else if !self.every.is_empty() {
            self.every.clear();
            Some(Tier::Every)
        } else if !self.functions.is_empty() {
            self.functions.clear();
            Some(Tier::Function)
        } else {
            None
        }
    }
}

/// What came of attaching to every function.
#[derive(Default)]
struct Watched {
    links: Vec<Link>,
    functions: usize,
    off: Vec<Off>,
}

/// Attaches to every function that is given a packet. What the kernel refuses among
/// many it does not name: halves are tried until it stands alone.
fn every(program: &ProgramMut<'_>) -> Watched {
    let mut done = Watched::default();
    let mut waiting = vec![functions_with("sk_buff")];
    while let Some(mut some) = waiting.pop().filter(|some| !some.is_empty()) {
        match (attach_to(program, &some), some.len()) {
            (Ok(link), count) => {
                done.links.push(link);
                done.functions += count;
            }
            (Err(error), 1) => {
                let program = some.remove(0).function;
                done.off.push(Off { program, why: error.to_string() });
            }
            (Err(_), count) => {
                let half = some.split_off(count / 2);
                waiting.extend([some, half]);
            }
        }
    }
    done
}

fn attach_to(program: &ProgramMut<'_>, functions: &[Takes]) -> libbpf_rs::Result<Link> {
    let (symbols, cookies) =
        functions.iter().map(|takes| (takes.function.clone(), takes.argument)).unzip();
    program.attach_kprobe_multi_with_opts(KprobeMultiOpts {
        symbols,
        cookies,
        ..KprobeMultiOpts::default()
    })
}
