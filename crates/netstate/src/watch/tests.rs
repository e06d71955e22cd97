use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::*;

/// A message as the kernel sends it.
fn bytes(message: RouteNetlinkMessage, flags: u16, port: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.port_number) = (flags, port);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn told(known: &mut Known, bytes: &[u8]) -> Vec<Noted> {
    let mut out = Vec::new();
    for message in messages(bytes) {
        known.take(&message, &mut out).expect("a message that can be read");
    }
    out
}

fn eth0(up: bool, mtu: u32) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = 2;
    link.header.flags = if up { LinkFlags::Up | LinkFlags::LowerUp } else { LinkFlags::empty() };
    link.attributes = vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::Mtu(mtu)];
    RouteNetlinkMessage::NewLink(link)
}

fn with_eth0() -> Known {
    let mut known = Known::default();
    told(&mut known, &bytes(eth0(true, 1500), 0, 0));
    known
}

fn route(gateway: [u8; 4], protocol: RouteProtocol) -> RouteMessage {
    let mut route = RouteMessage::default();
    let header = &mut route.header;
    (header.address_family, header.table) = (AddressFamily::Inet, 254);
    (header.protocol, header.kind) = (protocol, RouteType::Unicast);
    header.destination_prefix_length = 24;
    route.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet(Ipv4Addr::new(10, 2, 0, 0))),
        RouteAttribute::Gateway(RouteAddress::Inet(gateway.into())),
        RouteAttribute::Oif(2),
    ];
    route
}

#[test]
fn a_route_says_what_was_before_and_how_to_take_it_back() {
    let mut known = with_eth0();
    let made = |gateway, flags, port| {
        let route = route(gateway, RouteProtocol::Boot);
        bytes(RouteNetlinkMessage::NewRoute(route), flags, port)
    };
    let added = told(&mut known, &made([10, 1, 0, 1], 0, 77));
    assert_eq!(added.len(), 1, "{added:?}");
    assert_eq!(added[0].what, "added route 10.2.0.0/24 via 10.1.0.1 dev eth0");
    assert_eq!(added[0].undo, "ip route del 10.2.0.0/24 via 10.1.0.1 dev eth0");
    assert_eq!(added[0].by, Some(Author { pid: 77, name: None }));
    let replaced = told(&mut known, &made([10, 1, 0, 9], 0x100, 77));
    assert_eq!(
        replaced[0].what,
        "replaced route 10.2.0.0/24 via 10.1.0.1 dev eth0 -> 10.2.0.0/24 via 10.1.0.9 dev eth0"
    );
    assert_eq!(replaced[0].undo, "ip route replace 10.2.0.0/24 via 10.1.0.1 dev eth0");
    let gone = RouteNetlinkMessage::DelRoute(route([10, 1, 0, 9], RouteProtocol::Boot));
    let gone = told(&mut known, &bytes(gone, 0, 0));
    assert_eq!(gone[0].undo, "ip route add 10.2.0.0/24 via 10.1.0.9 dev eth0");
    assert_eq!(gone[0].by, None, "port 0 is the kernel");
}

#[test]
fn the_kernels_own_routes_are_told_only_where_somebody_asked() {
    let mut known = with_eth0();
    let own = |port| {
        let route = route([10, 1, 0, 1], RouteProtocol::Kernel);
        bytes(RouteNetlinkMessage::DelRoute(route), 0, port)
    };
    assert_eq!(told(&mut known, &own(0)), []);
    assert_eq!(told(&mut known, &own(5)).len(), 1);
}

#[test]
fn what_repeats_what_is_known_is_no_change() {
    let mut known = with_eth0();
    assert_eq!(told(&mut known, &bytes(eth0(true, 1500), 0, 0)), []);
    let mtu = told(&mut known, &bytes(eth0(true, 1400), 0, 0));
    assert_eq!(mtu[0].what, "MTU of eth0 1500 -> 1400");
    assert_eq!(mtu[0].undo, "ip link set eth0 mtu 1500");
    let off = told(&mut known, &bytes(eth0(false, 1400), 0, 0));
    assert_eq!(off[0].what, "switched off device eth0", "and not that it has no carrier: {off:?}");
    assert_eq!(off.len(), 1);

    let mut address = AddressMessage::default();
    (address.header.family, address.header.prefix_len) = (AddressFamily::Inet, 24);
    address.header.index = 2;
    address.attributes = vec![AddressAttribute::Local(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 7)))];
    let added = bytes(RouteNetlinkMessage::NewAddress(address), 0, 0);
    assert_eq!(told(&mut known, &added)[0].what, "added address 10.1.0.7/24 to eth0");
    assert_eq!(told(&mut known, &added), [], "its lifetime was renewed");
}

/// An attribute.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(value.len() + 4).expect("short").to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A message with a header of four bytes and attributes.
fn raw(kind: u16, head: [u8; 4], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = head.to_vec();
    for (kind, value) in attributes {
        body.extend(attribute(*kind, value));
    }
    let mut out = u32::try_from(16 + body.len()).expect("short").to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend([0; 10]);
    out.extend(body);
    out
}

#[test]
fn a_switch_of_all_devices_is_told_once() {
    let mut known = with_eth0();
    let set = |index: i32, value: i32| {
        raw(80, [2, 0, 0, 0], &[(1, &index.to_ne_bytes()), (2, &value.to_ne_bytes())])
    };
    assert_eq!(told(&mut known, &[set(-1, 1), set(2, 1)].concat()), [], "nothing was known yet");
    let off = told(&mut known, &[set(-1, 0), set(-2, 0), set(2, 0)].concat());
    assert_eq!(off.len(), 1, "{off:?}");
    assert_eq!(off[0].what, "net/ipv4/conf/all/forwarding 1 -> 0");
    assert_eq!(off[0].undo, "sysctl -w net/ipv4/conf/all/forwarding=1");
    known.begin();
    let one = told(&mut known, &set(2, 1));
    assert_eq!(one[0].what, "net/ipv4/conf/eth0/forwarding 0 -> 1");
}

const NFT: u16 = 10 << 8;

fn transaction(rules: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for handle in 1..=rules {
        let handle = handle.to_be_bytes();
        let names: [(u16, &[u8]); 3] = [(1, b"filter\0"), (2, b"FORWARD\0"), (3, &handle)];
        out.extend(raw(NFT | 6, [2, 0, 0, 0], &names));
    }
    let author: [(u16, &[u8]); 2] = [(2, &123_u32.to_be_bytes()), (3, b"nft\0")];
    out.extend(raw(NFT | 15, [0; 4], &author));
    out
}

fn of_firewall(bytes: &[u8]) -> Vec<Noted> {
    let mut open = Transaction::default();
    messages(bytes).filter_map(|message| open.take(&message)).collect()
}

#[test]
fn a_transaction_of_nftables_is_one_change_with_its_author() {
    let told = of_firewall(&transaction(1));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].what, "added 1 rule in ip filter FORWARD (handle 1)");
    assert_eq!(told[0].undo, "nft delete rule ip filter FORWARD handle 1");
    assert_eq!(told[0].by, Some(Author { pid: 123, name: Some("nft".into()) }));
    let many = of_firewall(&transaction(200));
    assert_eq!(many[0].what, "added 200 rules in ip filter FORWARD");
    assert_eq!(many[0].undo, "", "200 handles are no command");
}

#[test]
fn a_burst_is_summed_up() {
    let one = |n: usize| Noted::new(ChangeKind::Route, format!("route {n}"), String::new(), 0);
    let mut noted: Vec<Noted> = (0..1000).map(one).collect();
    noted.push(Noted::new(ChangeKind::Rule, "a rule".into(), String::new(), 0));
    let told = summed_up(noted);
    assert_eq!(told.len(), MOST + 2);
    assert_eq!(told[MOST].kind, ChangeKind::Rule, "another kind is not drowned");
    assert!(told[MOST + 1].what.contains("992 more"), "{:?}", told[MOST + 1]);
}

#[test]
fn a_message_cut_off_ends_what_is_read_of_a_datagram() {
    let whole = transaction(2);
    for cut in 0..whole.len() {
        assert!(of_firewall(&whole[..cut]).is_empty(), "the author comes last: {cut}");
    }
    let mut looped = whole.clone();
    looped[..4].fill(0);
    assert_eq!(messages(&looped).count(), 0, "a length of zero must not repeat for ever");
}
