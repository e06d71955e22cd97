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

/// Wall clock minus monotonic clock at this moment, nanoseconds: what a recording
/// notes, so that its times can be laid beside the kernel's own (`dmesg`, traces).
pub fn clock_offset() -> i64 {
    i64::try_from(Clock::start().offset).unwrap_or(i64::MAX)
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_turns_monotonic_time_into_wall_time() {
        let wall = monotonic().saturating_add_signed(clock_offset());
        let apart = Timestamp::now().0.abs_diff(wall);
        assert!(apart < 1_000_000_000, "{apart} ns apart");
    }
}
