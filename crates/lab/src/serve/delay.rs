//! A link that takes long, for kernels without netem: packets go in at a TUN
//! device of the node and come out of one in the pod, some time later.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tun::Configuration;

use crate::error::{Error, Result};
use crate::faults::helper;
use crate::net;
use crate::state::Lab;

/// TUN device in the node's namespace: what is routed into it is delayed.
pub(crate) const ENTRY: &str = "dly0";
/// TUN device in the pod's namespace.
const EXIT: &str = "dly1";

/// Relays until the process is ended. Words: pod, delay and jitter in milliseconds.
pub(crate) fn run(state_dir: &std::path::Path, words: &[String]) -> Result<()> {
    let lab = Lab::load(state_dir)?;
    helper::join(&lab)?;
    let usage = || Error::Usage("usage: serve delay STATE-DIR POD MS JITTER-MS".into());
    let [pod, delay, jitter] = words else { return Err(usage()) };
    let pod = lab.pod(pod).ok_or_else(usage)?;
    let number = |text: &str| text.parse::<f64>().map_err(|_| usage());
    let (delay, jitter) = (number(delay)?, number(jitter)?);
    let exit = net::inside(&pod.netns.name, || device(EXIT))??;
    let entry = net::inside(&lab.node.netns.name, || device(ENTRY))??;
    let (sender, receiver) = channel();
    std::thread::spawn(move || release(&receiver, &exit));
    take_in(&entry, &sender, &Spread { middle: delay, width: jitter, turn: 0 })
}

fn device(name: &str) -> Result<tun::Device> {
    let mut configuration = Configuration::default();
    configuration.tun_name(name).mtu(1500).up();
    tun::create(&configuration).map_err(|e| Error::Unsupported {
        what: format!("making the TUN device {name}"),
        why: e.to_string(),
    })
}

struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

/// Delay of the packets and by how much it varies, both in milliseconds.
#[derive(Debug, Clone)]
struct Spread {
    middle: f64,
    width: f64,
    turn: u32,
}

impl Spread {
    /// Delay of the next packet: spread evenly over `middle +- width` (multiples
    /// of the golden ratio fill an interval without clustering).
    fn next(&mut self) -> Duration {
        self.turn = self.turn.wrapping_add(1);
        let place = (f64::from(self.turn) * 0.618_033_988_75).fract() * 2.0 - 1.0;
        Duration::from_secs_f64((self.middle + self.width * place).max(0.0) / 1000.0)
    }
}

fn take_in(entry: &tun::Device, to: &Sender<Packet>, spread: &Spread) -> Result<()> {
    let mut spread = spread.clone();
    let mut buffer = vec![0_u8; 65_536];
    let mut last = Instant::now();
    loop {
        let n = entry.recv(&mut buffer).map_err(Error::io("read", ENTRY))?;
        // A link does not reorder: no packet overtakes the one before.
        last = last.max(Instant::now() + spread.next());
        let packet = Packet { due: last, bytes: buffer[..n].to_vec() };
        if to.send(packet).is_err() {
            return Err(Error::Usage("the other end of the link is gone".into()));
        }
    }
}

fn release(from: &Receiver<Packet>, exit: &tun::Device) {
    for packet in from {
        std::thread::sleep(packet.due.saturating_duration_since(Instant::now()));
        if let Err(e) = exit.send(&packet.bytes) {
            eprintln!("{EXIT}: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_spread_evenly_around_the_middle() {
        let mut spread = Spread { middle: 40.0, width: 5.0, turn: 0 };
        let all: Vec<f64> = (0..1000).map(|_| spread.next().as_secs_f64() * 1000.0).collect();
        assert!(all.iter().all(|d| (35.0..=45.0).contains(d)));
        let mean = all.iter().sum::<f64>() / 1000.0;
        assert!((mean - 40.0).abs() < 0.1, "{mean}");
        assert!(all.iter().any(|d| *d < 36.0) && all.iter().any(|d| *d > 44.0));
    }
}
