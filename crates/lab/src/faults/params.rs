//! Numbers a fault can be given, each with its bounds.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::faults::Fault;

/// A number that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Name, as in `--set NAME=VALUE`.
    pub name: &'static str,
    /// What it is, with its unit.
    pub meaning: &'static str,
    /// Value taken otherwise.
    pub default: f64,
    /// Least and greatest value.
    pub range: (f64, f64),
}

const fn param(
    name: &'static str,
    meaning: &'static str,
    default: f64,
    range: (f64, f64),
) -> Param {
    Param { name, meaning, default, range }
}

/// Values set by the caller.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params {
    values: BTreeMap<String, f64>,
}

impl Params {
    /// Sets a value.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.values.insert(name.into(), value);
        self
    }

    /// Reads `NAME=VALUE` words.
    ///
    /// # Errors
    /// [`Error::Usage`] when a word has another form.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        words.into_iter().try_fold(Self::default(), |params, word| {
            let parsed = word.split_once('=').and_then(|(n, v)| Some((n, v.parse::<f64>().ok()?)));
            let (name, value) = parsed
                .filter(|(_, v)| v.is_finite())
                .ok_or_else(|| Error::Usage(format!("`{word}` is not of the form NAME=NUMBER")))?;
            Ok(params.with(name, value))
        })
    }

    /// Refuses values the fault does not know or take.
    pub(crate) fn check(&self, fault: Fault) -> Result<()> {
        for (name, value) in &self.values {
            let refuse = |why: String| Error::BadParameter {
                fault: fault.name().into(),
                name: name.clone(),
                value: value.to_string(),
                why,
            };
            let Some(known) = fault.params().iter().find(|p| p.name == name) else {
                let names: Vec<&str> = fault.params().iter().map(|p| p.name).collect();
                return Err(refuse(match names.as_slice() {
                    [] => "this fault has no parameters".into(),
                    names => format!("there is no such parameter; there are: {}", names.join(", ")),
                }));
            };
            let (low, high) = known.range;
            if !(low..=high).contains(value) {
                return Err(refuse(format!("give a number from {low} to {high}")));
            }
        }
        Ok(())
    }

    /// Value of a parameter of this fault.
    pub(crate) fn get(&self, fault: Fault, name: &str) -> f64 {
        let default = fault.params().iter().find(|p| p.name == name).map_or(0.0, |p| p.default);
        self.values.get(name).copied().unwrap_or(default)
    }
}

impl Fault {
    /// What can be set.
    pub fn params(self) -> &'static [Param] {
        const SECOND: (f64, f64) = (1.0, 10_000.0);
        match self {
            Self::Healthy | Self::WrongRoute | Self::ConnectionRefused | Self::ConntrackFull => &[],
            Self::NoisyNeighbour => {
                const {
                    &[
                        param("threads", "threads that burn", 2.0, (1.0, 16.0)),
                        param("on_ms", "of each cycle, burning", 400.0, SECOND),
                        param("off_ms", "of each cycle, resting", 150.0, (0.0, 10_000.0)),
                    ]
                }
            }
            Self::CpuLimit => {
                const { &[param("quota_percent", "quota, of the CPU time it uses", 85.0, (10.0, 100.0))] }
            }
            Self::FdExhaustion => {
                const { &[param("per_second", "descriptors lost a second", 2.0, (0.1, 1000.0))] }
            }
            Self::PacketLoss => {
                const { &[param("percent", "share of packets dropped", 20.0, (1.0, 100.0))] }
            }
            Self::SlowDownstream => {
                const { &[param("ms", "sleep before each answer", 150.0, SECOND)] }
            }
            Self::OomKill => const { &[param("mib_per_second", "growth", 8.0, (1.0, 1000.0))] },
            Self::LinkDelay => {
                const {
                    &[
                        param("ms", "delay of each packet", 40.0, SECOND),
                        param("jitter_ms", "delay varies by so much", 5.0, (0.0, 1000.0)),
                    ]
                }
            }
            Self::ListenOverflow => {
                const {
                    &[
                        param("pause_ms", "of each cycle, not accepting", 1500.0, SECOND),
                        param("run_ms", "of each cycle, accepting", 200.0, SECOND),
                    ]
                }
            }
            Self::DnsFailure => {
                const { &[param("silent", "1: no answer instead of SERVFAIL", 0.0, (0.0, 1.0))] }
            }
            Self::LogOnly => {
                const {
                    &[
                        param("per_second", "error lines a second", 20.0, (0.1, 1000.0)),
                        param("error_share", "share of requests that fail", 0.005, (0.0, 1.0)),
                    ]
                }
            }
            Self::Rollout => {
                const { &[param("error_share", "share that the new version fails", 0.3, (0.01, 1.0))] }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_against_what_the_fault_takes() {
        let params = Params::parse(["percent=35"]).unwrap();
        params.check(Fault::PacketLoss).unwrap();
        assert!((params.get(Fault::PacketLoss, "percent") - 35.0).abs() < f64::EPSILON);
        let default = Params::default().get(Fault::PacketLoss, "percent");
        assert!((default - 20.0).abs() < f64::EPSILON);
        let unknown = params.check(Fault::CpuLimit).unwrap_err().to_string();
        assert!(unknown.contains("there are: quota_percent"), "{unknown}");
        let range = Params::default().with("percent", 200.0).check(Fault::PacketLoss);
        assert!(range.unwrap_err().to_string().contains("from 1 to 100"));
        assert!(Params::parse(["percent"]).is_err());
    }
}
