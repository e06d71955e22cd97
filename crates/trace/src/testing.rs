//! Made-up hops for tests.

use taproot_model::{Direction, Hop, Name, PacketId, Place, Step, Timestamp, Tuple};
use taproot_probes::trace::Event;

/// A namespace.
pub(crate) const A: u32 = 0xF000_0001;
/// Another one.
pub(crate) const B: u32 = 0xF000_0002;

/// A SYN at some point of its way.
pub(crate) fn hop(at: u64, step: Step, netns: u32, device: &str) -> Event {
    let direction = Direction::Within;
    let tuple = Tuple {
        source: "10.0.0.1:4000".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
        protocol: 6,
        tcp_flags: 2,
        icmp: None,
        ttl: 64,
        length: 60,
    };
    let ifindex = device.len() as u32;
    let place = Place { netns: Some(netns), ifindex, device: device.into(), came_in: 0, direction };
    let id = PacketId { skb: 0xabc, head: 1, ip_id: 7, sequence: 100, acknowledgement: 0 };
    let hop = Hop {
        at: Timestamp(at),
        node: Name::default(),
        place,
        step,
        tuple,
        original: None,
        id,
        socket: None,
        hook: Name::default(),
    };
    Event {
        hop,
        outer: None,
        reply: None,
        translated: false,
        followed: false,
        own_socket: false,
        fragment: None,
        thread: 0,
        cpu: 0,
        mark: 0,
        frame: None,
    }
}

/// The first hop of it.
pub(crate) fn sent(at: u64) -> Event {
    Event { own_socket: true, ..hop(at, Step::Queued, A, "eth0") }
}
