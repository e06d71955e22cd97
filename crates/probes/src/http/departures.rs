//! Samples, and what their answers waited for the device, which is told later.

use std::mem::take;

use super::{Outside, Role, Sample};

/// What came through the ring.
///
/// A sample is written when the answer leaves its socket, and how long its last packet
/// waited for the device (a queueing discipline may hold it for seconds) when it is handed
/// over. So a sample is kept back for one poll, unless it is complete by then.
pub(super) struct Arrived {
    /// Whether anybody sees packets being handed to the device.
    departures: bool,
    fresh: Vec<Sample>,
    kept: Vec<Sample>,
}

impl Arrived {
    pub(super) fn new(departures: bool) -> Self {
        Self { departures, fresh: Vec::new(), kept: Vec::new() }
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.fresh.push(sample);
    }

    pub(super) fn departure(&mut self, request: u64, qdisc: u64) {
        let at_server = |s: &&mut Sample| s.request == request && s.key.role == Role::Server;
        // One that waited for longer than a poll has been given out already.
        let found = self.fresh.iter_mut().rev().chain(&mut self.kept).find(at_server);
        if let Some(stages) = found.and_then(|sample| sample.stages.as_mut()) {
            stages.qdisc = Outside { total: qdisc, seen: 1 };
        }
    }

    /// Those that are complete, or have waited for long enough.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let mut out = take(&mut self.kept);
        for sample in take(&mut self.fresh) {
            if self.departures && may_be_told_more(&sample) {
                self.kept.push(sample);
            } else {
                out.push(sample);
            }
        }
        out
    }
}

fn may_be_told_more(sample: &Sample) -> bool {
    sample.key.role == Role::Server && sample.stages.is_some_and(|s| s.qdisc.seen == 0)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::{Key, Method, Stages};
    use super::*;

    fn sample(request: u64, role: Role) -> Sample {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Sample {
            start: 1,
            first_byte: 1,
            duration: 1,
            key: Key {
                netns: 1,
                cgroup: 1,
                route: 1,
                local: here,
                remote: here,
                port: 80,
                status: 200,
                method: Method(1),
                role,
            },
            peer_port: 1,
            request_bytes: 1,
            response_bytes: 1,
            stages: Some(Stages { count: 1, ..Stages::default() }),
            request,
            cause: None,
            traceparent: String::new(),
            path: String::new(),
        }
    }

    fn told(samples: &[Sample]) -> Vec<(u64, Option<u64>)> {
        samples.iter().map(|s| (s.request, s.stages.and_then(|s| s.qdisc.of_one()))).collect()
    }

    #[test]
    fn a_departure_finds_the_servers_sample_of_its_request() {
        let mut arrived = Arrived::new(true);
        arrived.sample(sample(1, Role::Client));
        arrived.sample(sample(1, Role::Server));
        arrived.departure(1, 70);
        assert_eq!(told(&arrived.take()), [(1, None), (1, Some(70))]);
    }

    #[test]
    fn a_sample_waits_one_poll_for_it() {
        let mut arrived = Arrived::new(true);
        arrived.sample(sample(1, Role::Server));
        arrived.sample(sample(2, Role::Server));
        assert_eq!(told(&arrived.take()), []);
        arrived.departure(1, 70);
        assert_eq!(told(&arrived.take()), [(1, Some(70)), (2, None)]);
        arrived.departure(2, 80);
        assert_eq!(told(&arrived.take()), []);
    }

    #[test]
    fn where_nobody_sees_departures_no_sample_waits() {
        let mut arrived = Arrived::new(false);
        arrived.sample(sample(1, Role::Server));
        assert_eq!(told(&arrived.take()), [(1, None)]);
    }
}
