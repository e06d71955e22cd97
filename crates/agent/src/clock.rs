use taproot_model::Timestamp;

/// Monotonic time to wall time by one offset, taken once: a step of the wall clock
/// does not reorder an agent's signals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    offset: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { offset: Timestamp::now().0.saturating_sub(monotonic()) }
    }

    pub(crate) fn now(self) -> Timestamp {
        self.at(monotonic())
    }

    /// Wall time of a kernel timestamp (`bpf_ktime_get_ns`).
    pub(crate) fn at(self, monotonic: u64) -> Timestamp {
        Timestamp(monotonic + self.offset)
    }
}

fn monotonic() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
