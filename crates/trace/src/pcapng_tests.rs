use pcap_file::pcapng::{Block, PcapNgReader};
use taproot_model::{Drop, Frame, Route};
use taproot_probes::trace::Account;

use super::*;
use crate::Plain;
use crate::judge::{NoOracle, judge};
use crate::testing::{A, B, hop, sent};

/// What a reader finds in a file of these hops: names of interfaces, packets.
fn read_back(events: Vec<Event>) -> (Vec<String>, Vec<EnhancedPacketBlock<'static>>) {
    let (interfaces, linktypes, packets) = read_all(events);
    assert!(linktypes.iter().all(|of| *of == DataLink::RAW), "{linktypes:?}");
    (interfaces, packets)
}

/// The same, and of which link each interface is.
fn read_all(events: Vec<Event>) -> (Vec<String>, Vec<DataLink>, Vec<EnhancedPacketBlock<'static>>) {
    let trace = Trace::assemble(events, Account::default());
    let verdicts = judge(&trace, &Plain, &NoOracle);
    let mut file = Vec::new();
    write(&mut file, &trace, &verdicts, &Plain).expect("a vector takes everything");
    let mut reader = PcapNgReader::new(file.as_slice()).expect("a section");
    let (mut interfaces, mut linktypes, mut packets) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a block") {
            Block::InterfaceDescription(block) => {
                linktypes.push(block.linktype);
                assert!(block.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                let name = block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                interfaces.push(name.expect("a name"));
            }
            Block::EnhancedPacket(block) => packets.push(block.into_owned()),
            other => panic!("nothing else is written: {other:?}"),
        }
    }
    (interfaces, linktypes, packets)
}

fn comment_of(packet: &EnhancedPacketBlock<'_>) -> String {
    let comment = packet.options.iter().find_map(|option| match option {
        EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
        _ => None,
    });
    comment.expect("a comment")
}

fn dropped() -> Step {
    let function = "nf_hook_slow".into();
    let reason = "NETFILTER_DROP".into();
    Step::Dropped(Drop { reason, function, stack: Vec::new(), netfilter: None })
}

#[test]
fn hops_are_packets_at_devices_with_comments() {
    let route = Route {
        table: 254,
        error: 0,
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        gateway: None,
        ifindex: 2,
        device: "br0".into(),
    };
    let mut received = hop(2_000_000_001, Step::Received, B, "veth1");
    received.hop.place.direction = Direction::In;
    let events = vec![
        sent(1_000_000_000),
        received,
        hop(2_000_000_002, Step::Routed(route), B, ""),
        hop(2_000_000_003, dropped(), B, "veth1"),
    ];
    let (interfaces, packets) = read_back(events);
    let expected = [format!("eth0 in netns {A}"), format!("veth1 in netns {B}")];
    assert_eq!(interfaces, expected);
    let at: Vec<_> = packets.iter().map(|p| (p.interface_id, p.timestamp.as_nanos())).collect();
    assert_eq!(at, [(0, 1_000_000_000), (1, 2_000_000_001), (1, 2_000_000_003)]);
    assert!(packets[1].options.contains(&EnhancedPacketOption::Flags(INBOUND)));
    assert!(comment_of(&packets[0]).contains("is sent out of eth0"));
    let last = comment_of(&packets[2]);
    for part in ["before: route to 10.0.0.2: br0", "DROPPED: NETFILTER_DROP", "was dropped in"] {
        assert!(last.contains(part), "`{part}` is missing in {last}");
    }
}

#[test]
fn headers_are_those_of_the_hop() {
    let (_, packets) = read_back(vec![sent(1)]);
    let [packet] = packets.as_slice() else { panic!("one packet") };
    let data = packet.data.as_ref();
    assert_eq!((data.len(), packet.original_len), (40, 60), "two headers of a longer packet");
    assert_eq!(checksum(&data[..20]), 0, "a header with its checksum sums up to nothing");
    assert_eq!((data[8], data[9]), (64, 6));
    assert_eq!(data[12..20], [10, 0, 0, 1, 10, 0, 0, 2]);
    assert_eq!(data[20..24], [0x0f, 0xa0, 0, 80]);
    assert_eq!((data[24..28].to_vec(), data[33]), (vec![0, 0, 0, 100], 2));
}

#[test]
fn other_protocols_and_versions_have_their_headers() {
    let with = |change: fn(&mut Tuple)| {
        let mut event = sent(1);
        change(&mut event.hop.tuple);
        headers(&event)
    };
    let datagram = with(|tuple| (tuple.protocol, tuple.tcp_flags) = (UDP, 0));
    assert_eq!(datagram[20..28], [0x0f, 0xa0, 0, 80, 0, 40, 0, 0]);
    let ping = with(|tuple| (tuple.protocol, tuple.icmp) = (1, Some((8, 0))));
    assert_eq!(ping[20..24], [8, 0, 0, 0]);
    let six = with(|tuple| {
        tuple.source = "[fd00::1]:4000".parse().unwrap();
        tuple.destination = "[fd00::2]:80".parse().unwrap();
        tuple.length = 80;
    });
    assert_eq!((six[0], six[4..8].to_vec(), six.len()), (0x60, vec![0, 40, 6, 64], 60));
    assert_eq!((six[23], six[39]), (1, 2));
    let fragment = Event { fragment: Some(1480), ..sent(1) };
    assert_eq!(headers(&fragment).len(), 20, "a later fragment has no ports");
}

#[test]
fn what_is_not_ip_is_written_as_it_was() {
    let frame = Frame { ether_type: 0x88cc, length: 120, bytes: (0..64).collect() };
    let lldp = Event { frame: Some(frame.clone()), ..hop(2, Step::Received, A, "eth0") };
    let (interfaces, linktypes, packets) = read_all(vec![sent(1), lldp]);
    assert_eq!(interfaces, vec![format!("eth0 in netns {A}"); 2], "once for each kind of link");
    assert_eq!(linktypes, [DataLink::RAW, DataLink::ETHERNET]);
    let [_, packet] = packets.as_slice() else { panic!("two packets") };
    assert_eq!((packet.data.as_ref(), packet.original_len), (frame.bytes.as_slice(), 120));
    assert!(comment_of(packet).contains("arrives at eth0: LLDP message, from 06:07:08:09:0a:0b"));
}
