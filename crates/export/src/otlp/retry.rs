//! When to try again, as the OTLP specification has it: after answers that pass and
//! failures to connect, each time later, and not before the receiver says so.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(20);

/// Whether a status may pass.
pub(crate) fn may_pass(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// The pauses between tries.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next pause, at least as long as the receiver asked for. `spread` from 0 to 1
    /// keeps many senders from coming back at the same time.
    pub(crate) fn pause(&mut self, asked: Option<Duration>, spread: f64) -> Duration {
        let pause = self.next.mul_f64(0.5 + spread.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        asked.map_or(pause, |asked| asked.max(pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_respect_the_receiver() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause(None, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 20, 20, 20]);
        assert_eq!(Backoff::new().pause(None, 0.0), Duration::from_millis(500));
        let asked = Some(Duration::from_secs(40));
        assert_eq!(Backoff::new().pause(asked, 0.0), Duration::from_secs(40));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [429, 502, 503, 504] {
            assert!(may_pass(status));
        }
        for status in [200, 400, 401, 404, 413, 500] {
            assert!(!may_pass(status));
        }
    }
}
