//! Filters on bytes, link addresses and tags, as the kernel's programs evaluate them.

mod veth;

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use taproot_model::Step;
use taproot_probes::trace::{
    Calculation, Compare, Event, Field, Layer, Operand, Operation, Operator, Options, Test, Tracer,
};
use taproot_testkit::{need_commands, need_root, skip};
use veth::{A, B, Netns, Pair};

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

/// Link addresses of the two ends, as `Pair` gives them.
const MAC_A: [u8; 6] = [2, 0, 0, 0x77, 0, 1];
const MAC_B: [u8; 6] = [2, 0, 0, 0x77, 0, 2];

fn bytes(layer: Layer, offset: u16, size: u8) -> Field {
    Field::Bytes { layer, offset, size }
}

/// All of these have to be equal.
fn all(fields: &[(Field, u32)]) -> Vec<Test> {
    let test = |(at, &(field, value)): (usize, &(Field, u32))| Test {
        field,
        compare: Compare::Equal,
        mask: u32::MAX,
        value,
        yes: if at + 1 == fields.len() { Test::ACCEPT } else { at as u8 + 1 },
        no: Test::REJECT,
    };
    fields.iter().enumerate().map(test).collect()
}

fn udp(netns: &Netns, address: &str, port: u16) -> UdpSocket {
    let address: IpAddr = address.parse().expect("an address");
    let socket = netns.inside(|| UdpSocket::bind((address, port))).expect("the port is free");
    socket.set_read_timeout(Some(Duration::from_mins(1))).expect("settable");
    socket
}

/// What a trace with this filter sees of datagrams that go from one end to the other.
fn seen(pair: &Pair, tests: Vec<Test>, port: u16, datagrams: &[&[u8]]) -> Vec<Event> {
    let (client, server) = (udp(&pair.a, A, 0), udp(&pair.b, B, port));
    let options = Options { tests, ..Options::default() };
    let mut tracer = Tracer::start(&options).expect("root may load it");
    for datagram in datagrams {
        client.send_to(datagram, (B, port)).expect("sent");
        assert_eq!(server.recv(&mut [0; 64]).expect("it arrives"), datagram.len());
    }
    let events = tracer.stop().expect("readable");
    let account = tracer.account().expect("readable");
    assert_eq!(account.produced, events.len() as u64, "{account:?}");
    events
}

/// Whether a packet is seen at both ends of the cable.
fn is_seen_on_its_way(pair: &Pair, events: &[Event]) -> bool {
    let at = |netns, step: &Step| {
        events.iter().any(|e| e.hop.place.netns == Some(netns) && e.hop.step == *step)
    };
    at(pair.a.inode, &Step::Queued) && at(pair.b.inode, &Step::Received)
}

#[test]
fn live_bytes_of_headers_are_compared() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let length = bytes(Layer::Network, 2, 2);
    let (port, payload) = (bytes(Layer::Transport, 2, 2), bytes(Layer::Transport, 8, 4));
    let begins = u32::from_be_bytes(*b"ABCD");
    let tests = all(&[(length, 20 + 8 + 5), (port, 5330), (payload, begins)]);
    let events = seen(&pair, tests, 5330, &[b"ABCDE", b"ABCDEF", b"XBCDE"]);
    assert!(is_seen_on_its_way(&pair, &events), "{events:#?}");
    let ids: std::collections::BTreeSet<_> = events.iter().map(|e| e.hop.id.ip_id).collect();
    assert_eq!(ids.len(), 1, "the first datagram alone: {events:#?}");
    // Lookups have no length.
    let mut packets = events.iter().filter(|e| !matches!(e.hop.step, Step::Routed(_)));
    assert!(packets.all(|e| e.hop.tuple.length == 33), "{events:#?}");
}

/// As with libpcap: such a packet does not match, whatever the rest of the filter says.
#[test]
fn live_a_packet_that_ends_before_does_not_match() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let either = |offset| Test {
        field: bytes(Layer::Transport, offset, 2),
        compare: Compare::Equal,
        mask: u32::MAX,
        value: 0,
        yes: Test::ACCEPT,
        no: Test::ACCEPT,
    };
    // Header and five bytes: the last two begin at 11.
    let port = Test { yes: 1, no: Test::REJECT, value: 5331, ..either(2) };
    let inside = seen(&pair, vec![port, either(11)], 5331, &[b"ABCDE"]);
    assert!(is_seen_on_its_way(&pair, &inside), "{inside:#?}");
    let outside = seen(&pair, vec![port, either(12)], 5331, &[b"ABCDE"]);
    assert!(outside.is_empty(), "{outside:#?}");
}

/// A number of these operations: what is done to which register, with what.
fn calculated(operations: &[(Operator, u8, Operand, u8)]) -> Field {
    let of = |&(operator, to, by, size): &_| Operation { operator, to, by, size };
    let operations: Vec<_> = operations.iter().map(of).collect();
    Field::Calculated(Calculation::of(&operations).expect("short"))
}

#[test]
fn live_numbers_are_calculated() {
    use Operand::{Register, Value};
    use Operator::{
        Add, And, Divide, Equal, Greater, Length, Modulo, Multiply, Network, Or, Set, ShiftLeft,
        ShiftRight, Subtract, Transport, Xor,
    };
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    // The four bytes that lie five before the datagram's end.
    let from_the_end = calculated(&[
        (Transport, 0, Value(4), 2),
        (Subtract, 0, Value(5), 0),
        (Transport, 0, Register(0), 4),
    ]);
    // The same length, reckoned from two headers: (total - 4 * words) and UDP's own.
    let lengths = calculated(&[
        (Network, 0, Value(2), 2),
        (Network, 1, Value(0), 1),
        (And, 1, Value(0xf), 0),
        (ShiftLeft, 1, Value(2), 0),
        (Subtract, 0, Register(1), 0),
        (Transport, 1, Value(4), 2),
        (Equal, 0, Register(1), 0),
    ]);
    // Every other operator, on the length of the packet: 33.
    let others = calculated(&[
        (Length, 0, Value(0), 0),
        (Multiply, 0, Value(5), 0),
        (Divide, 0, Value(4), 0),
        (Modulo, 0, Value(16), 0),
        (Xor, 0, Value(0xff), 0),
        (Or, 0, Value(0x100), 0),
        (ShiftRight, 0, Value(4), 0),
        (Set, 3, Value(0x1e), 0),
        (Add, 3, Value(0), 0),
        (Greater, 0, Register(3), 0),
    ]);
    let port = (bytes(Layer::Transport, 2, 2), 5334);
    let begins = u32::from_be_bytes(*b"ABCD");
    let tests = all(&[port, (from_the_end, begins), (lengths, 1), (others, 1)]);
    let events = seen(&pair, tests, 5334, &[b"ABCDE", b"XBCDE", b"ABCDEF"]);
    assert!(is_seen_on_its_way(&pair, &events), "{events:#?}");
    let ids: std::collections::BTreeSet<_> = events.iter().map(|e| e.hop.id.ip_id).collect();
    assert_eq!(ids.len(), 1, "the first datagram alone: {events:#?}");
    // Divided by what is 0 for the packet it does not match, whatever the rest says.
    let divided = calculated(&[
        (Transport, 0, Value(4), 2),
        (Subtract, 0, Value(13), 0),
        (Set, 1, Value(7), 0),
        (Divide, 1, Register(0), 0),
    ]);
    let port = Test { yes: 1, ..all(&[port])[0] };
    let either = Test { field: divided, yes: Test::ACCEPT, no: Test::ACCEPT, ..port };
    let events = seen(&pair, vec![port, either], 5334, &[b"ABCDE"]);
    assert!(events.is_empty(), "{events:#?}");
}

#[test]
fn live_link_addresses_are_compared_where_there_is_a_frame() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    let from_to = |from: [u8; 6], to: [u8; 6]| {
        let frame = [to, from].concat();
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| frame[at + byte]));
        all(&[0u16, 4, 8].map(|at| (bytes(Layer::Link, at, 4), word(usize::from(at)))))
    };
    let events = seen(&pair, from_to(MAC_A, MAC_B), 5332, &[b"hello"]);
    assert!(is_seen_on_its_way(&pair, &events), "{events:#?}");
    let backwards = seen(&pair, from_to(MAC_B, MAC_A), 5332, &[b"hello"]);
    assert!(backwards.is_empty(), "{backwards:#?}");
}

#[test]
fn live_a_tag_is_seen_beside_the_frame() {
    need_root!();
    need_commands!("ip", "sysctl");
    let pair = or_skip!(Pair::new());
    for (netns, address, other, mac) in [
        (&pair.a, "10.78.0.1", "10.78.0.2", "02:00:00:77:00:02"),
        (&pair.b, "10.78.0.2", "10.78.0.1", "02:00:00:77:00:01"),
    ] {
        or_skip!(netns.run("ip link add link cable name tagged type vlan id 77"));
        or_skip!(netns.run(&format!("ip address add {address}/24 dev tagged")));
        or_skip!(netns.run("ip link set tagged up"));
        or_skip!(netns.run(&format!("ip neighbour replace {other} lladdr {mac} dev tagged")));
    }
    let tagged = |id| Test {
        field: Field::Vlan,
        compare: Compare::Equal,
        mask: Field::TAGGED | 0xfff,
        value: Field::TAGGED | id,
        yes: 1,
        no: Test::REJECT,
    };
    let port = Test {
        field: Field::DestinationPort,
        compare: Compare::Equal,
        mask: u32::MAX,
        value: 5333,
        yes: Test::ACCEPT,
        no: Test::REJECT,
    };
    let trace = |id, from: &str, to: &str| {
        let (client, server) = (udp(&pair.a, from, 0), udp(&pair.b, to, 5333));
        let options = Options { tests: vec![tagged(id), port], ..Options::default() };
        let mut tracer = Tracer::start(&options).expect("root may load it");
        client.send_to(b"hello", (to, 5333)).expect("sent");
        assert_eq!(server.recv(&mut [0; 16]).expect("it arrives"), 5);
        tracer.stop().expect("readable")
    };
    let events = trace(77, "10.78.0.1", "10.78.0.2");
    let is_at = |device: &str| events.iter().any(|e| e.hop.place.device.as_str() == device);
    assert!(is_at("cable") && !is_at("tagged"), "the tag is on the cable alone: {events:#?}");
    assert!(trace(78, "10.78.0.1", "10.78.0.2").is_empty(), "another tag");
    assert!(trace(77, A, B).is_empty(), "no tag");
}
