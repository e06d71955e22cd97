//! Packets that are not IP: ARP over a bridge, spanning tree.

mod veth;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use taproot_model::{Frame, Step};
use taproot_probes::trace::{Compare, Event, Field, Options, Test, Tracer};
use taproot_testkit::{need_commands, need_root, skip};
use veth::{A, B, Bridged, Netns};

macro_rules! or_skip {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(why) => skip!("{why}"),
        }
    };
}

fn is(field: Field, value: u32, yes: u8, no: u8) -> Test {
    Test { field, compare: Compare::Equal, mask: u32::MAX, value, yes, no }
}

fn address(text: &str) -> u32 {
    text.parse::<Ipv4Addr>().expect("an address").to_bits()
}

fn start(tests: Vec<Test>) -> Tracer {
    let options = Options { tests, ..Options::default() };
    Tracer::start(&options).expect("root may load it")
}

fn udp(netns: &Netns, address: &str, port: u16) -> UdpSocket {
    let address: IpAddr = address.parse().expect("an address");
    let socket = netns.inside(|| UdpSocket::bind((address, port))).expect("the port is free");
    socket.set_read_timeout(Some(Duration::from_mins(1))).expect("settable");
    socket
}

/// A datagram, for which the neighbour's address has to be asked for.
fn send(bridged: &Bridged, port: u16) {
    let (client, server) = (udp(&bridged.a, A, 0), udp(&bridged.b, B, port));
    client.send_to(b"hello", (B, port)).expect("sent");
    assert_eq!(server.recv(&mut [0; 16]).expect("it arrives"), 5);
}

/// Whether a hop like this is among those of this operation.
fn has(events: &[Event], operation: u16, netns: &Netns, step: &Step, device: &str) -> bool {
    events.iter().any(|event| {
        let arp = event.frame.as_ref().and_then(Frame::arp);
        let place = &event.hop.place;
        arp.is_some_and(|arp| arp.operation == operation)
            && place.netns == Some(netns.inode)
            && place.device.as_str() == device
            && event.hop.step == *step
    })
}

#[test]
fn live_a_question_of_arp_is_followed_over_a_bridge() {
    need_root!();
    need_commands!("ip", "sysctl");
    let bridged = or_skip!(Bridged::new());
    let arp = Field::frame(Frame::ARP);
    let mut tracer = start(vec![
        is(Field::Family, arp, 1, Test::REJECT),
        is(Field::Source(0), address(A), Test::ACCEPT, 2),
        is(Field::Source(0), address(B), Test::ACCEPT, Test::REJECT),
    ]);
    send(&bridged, 5351);
    let events = tracer.stop().expect("readable");
    let account = tracer.account().expect("readable");
    assert_eq!(account.produced, events.len() as u64, "{account:?}");
    let (a, b, middle) = (&bridged.a, &bridged.b, &bridged.middle);
    for (netns, step, device) in [
        (a, Step::Queued, "cable"),
        (a, Step::Transmitted, "cable"),
        (middle, Step::Received, "port-a"),
        (middle, Step::Transmitted, "port-b"),
        (middle, Step::Received, "cable"),
        (b, Step::Received, "cable"),
    ] {
        assert!(has(&events, 1, netns, &step, device), "{step:?} {device}: {events:#?}");
    }
    assert!(has(&events, 2, b, &Step::Queued, "cable"), "{events:#?}");
    assert!(has(&events, 2, a, &Step::Received, "cable"), "{events:#?}");
    // The kernel looks for the way to who asks, which is a hop of the question's, too.
    for event in events.iter().filter(|event| !matches!(event.hop.step, Step::Routed(_))) {
        let frame = event.frame.as_ref().unwrap_or_else(|| panic!("no frame: {event:#?}"));
        let arp = frame.arp().unwrap_or_else(|| panic!("no ARP: {frame:?}"));
        assert_eq!(event.hop.tuple.source.ip(), IpAddr::V4(arp.sender_address));
        assert_eq!(event.hop.tuple.destination.ip(), IpAddr::V4(arp.target_address));
        assert_eq!(frame.source(), Some(arp.sender), "the frame's header is there, too");
        assert_eq!((frame.length, frame.bytes.len()), (42, 42));
    }
}

/// What names no frames sees none, whatever else it lets pass.
#[test]
fn live_a_filter_that_names_no_frames_sees_ip_alone() {
    need_root!();
    need_commands!("ip", "sysctl");
    let bridged = or_skip!(Bridged::new());
    let mut tracer = start(vec![is(Field::Netns, bridged.b.inode, Test::ACCEPT, Test::REJECT)]);
    send(&bridged, 5352);
    let events = tracer.stop().expect("readable");
    assert!(events.iter().any(|event| event.hop.step == Step::Received), "{events:#?}");
    assert!(events.iter().all(|event| event.frame.is_none()), "{events:#?}");
}

#[test]
fn live_frames_with_a_length_are_seen() {
    need_root!();
    need_commands!("ip", "sysctl");
    let bridged = or_skip!(Bridged::new());
    let mut tracer = start(vec![
        is(Field::Family, Field::frame(Frame::LLC), 1, Test::REJECT),
        is(Field::Netns, bridged.middle.inode, Test::ACCEPT, Test::REJECT),
    ]);
    or_skip!(bridged.middle.run("ip link set cable type bridge stp_state 1 hello_time 100"));
    let (mut events, end) = (Vec::new(), Instant::now() + Duration::from_secs(30));
    while events.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        events = tracer.poll().expect("readable");
    }
    let event = events.first().expect("a bridge with spanning tree speaks every second");
    let frame = event.frame.as_ref().expect("it is not IP");
    assert!(frame.payload().starts_with(&[0x42, 0x42, 3]), "{frame:?}");
    assert!(frame.is_for_many() && frame.arp().is_none(), "{frame:?}");
    assert!(event.hop.place.device.starts_with("port-"), "{event:?}");
}
