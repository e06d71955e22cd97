use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What a run cost. Kept apart from the outcome, which is equal in each run.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// CPU time of the engine for each case, in the order of the rows: reading and
    /// decoding files, and scoring, are left out.
    pub engine: Vec<Duration>,
    /// CPU time of it all.
    pub total: Duration,
    /// Most memory that the process ever held, in bytes; `None` where `/proc` does not say.
    pub peak_memory: Option<u64>,
}

impl Cost {
    /// Mean CPU time of the engine for a case.
    pub fn mean(&self) -> Duration {
        let cases = u32::try_from(self.engine.len()).unwrap_or(u32::MAX).max(1);
        self.engine.iter().sum::<Duration>() / cases
    }

    /// Longest CPU time of the engine for a case.
    pub fn longest(&self) -> Duration {
        self.engine.iter().max().copied().unwrap_or_default()
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let memory = self.peak_memory.map_or("unknown".into(), |b| format!("{} MiB", b >> 20));
        format!(
            "engine CPU time a case: mean {:.3} ms, longest {:.3} ms; all {:.2} s; peak memory {memory}",
            self.mean().as_secs_f64() * 1e3,
            self.longest().as_secs_f64() * 1e3,
            self.total.as_secs_f64(),
        )
    }
}

/// CPU time of this thread so far.
pub(crate) fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// High-water mark of the resident set, in bytes.
pub(crate) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_and_memory() {
        let before = cpu_time();
        let mut sum = 0_u64;
        while cpu_time() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time() > before);
        assert!(peak_memory().unwrap() > 1 << 16);
    }

    #[test]
    fn means_of_nothing_are_nothing() {
        assert_eq!(Cost::default().mean(), Duration::ZERO);
        assert_eq!(Cost::default().longest(), Duration::ZERO);
    }
}
