//! Frames for tests, one of each kind.

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 5];
const EVERYBODY: [u8; 6] = [0xff; 6];

/// An IPv4 packet with its lengths filled in.
fn v4(protocol: u8, to: [u8; 4], options: &[u8], fragment: u16, l4: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let total = (header + l4.len()) as u16;
    let mut ip = vec![0x40 | (header / 4) as u8, 0];
    ip.extend(total.to_be_bytes());
    ip.extend([0, 7]);
    ip.extend(fragment.to_be_bytes());
    ip.extend([61, protocol, 0, 0, 10, 1, 2, 3]);
    ip.extend(to);
    ip.extend(options);
    ip.extend(l4);
    ip
}

fn v6(next: u8, to: u16, l4: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend((l4.len() as u16).to_be_bytes());
    ip.extend([next, 64]);
    let addresses = ["fd00::1".parse(), format!("{to:x}::2").parse::<std::net::Ipv6Addr>()];
    ip.extend(addresses.into_iter().flat_map(|address| address.expect("an address").octets()));
    ip.extend(l4);
    ip
}

fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    header.extend([0, 0, 1, 0, 0, 0, 2, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    header
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut header = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    header.extend(payload);
    header
}

fn ethernet(to: [u8; 6], from: [u8; 6], ip: &[u8]) -> Vec<u8> {
    let kind: u16 = if ip[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    [to.as_slice(), &from, &kind.to_be_bytes(), ip].concat()
}

/// A frame of a type or, below 1536, a length.
fn other(to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [to.as_slice(), &MAC_A, &kind.to_be_bytes(), payload].concat()
}

fn arp(kind: u16, operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let to = if operation == 1 { EVERYBODY } else { MAC_B };
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, operation];
    payload.extend(MAC_A);
    payload.extend(sender);
    payload.extend(if operation == 1 { [0; 6] } else { MAC_B });
    payload.extend(target);
    other(to, kind, &payload)
}

/// Frames that are not IP, and one of IP, which some of them are told from.
fn not_ip() -> Vec<Vec<u8>> {
    let (one, two) = ([10, 1, 2, 3], [10, 9, 0, 1]);
    let bridges = [1, 0x80, 0xc2, 0, 0, 0];
    let padded = [arp(0x0806, 2, [10, 1, 2, 4], one), vec![0; 18]].concat();
    vec![
        ethernet(MAC_B, MAC_A, &v4(6, two, &[], 0x4000, &tcp(40000, 80, 2))),
        arp(0x0806, 1, one, two),
        padded,
        arp(0x0806, 1, [0; 4], two),
        arp(0x8035, 3, one, [192, 168, 0, 1]),
        other([1, 0x80, 0xc2, 0, 0, 0xe], 0x88cc, b"\x02\x07\x04abcdef"),
        other(bridges, 38, b"\x42\x42\x03\x00\x00\x00\x00\x00 a bridge and its root .."),
        other(bridges, 8, b"\xfe\xfe\x03  iso"),
        other(bridges, 8, b"\xf0\xf0\x03  net"),
        other(bridges, 12, b"\xaa\xaa\x03\x00\x00\x00\x80\xf3 aarp"),
        other(bridges, 12, b"\xaa\xaa\x03\x08\x00\x07\x80\x9b talk"),
        other(bridges, 12, b"\xaa\xaa\x03\x00\x00\x00\x81\x37  ipx"),
        other(bridges, 10, b"\xe0\xe0\x03 netware"),
        other(bridges, 10, b"\xff\xff\x00 ipx raw"),
        other(MAC_B, 0x8137, b"ipx with a type"),
        other(MAC_B, 0x8847, b"\x00\x06\x41\x40\x45\x00 under a label"),
        other(MAC_B, 0x8863, b"\x11\x09\x00\x00\x00\x00 discovery"),
        other(MAC_B, 0x8864, b"\x11\x00\x00\x07\x00\x04\x00\x21 session"),
        other(MAC_B, 0x809b, b"with a type of its own"),
        other(MAC_B, 0x80f3, b"with a type of its own"),
        other(MAC_B, 0x6003, b"routing of the nineties"),
    ]
}

pub(super) fn tagged(tag: u16, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &tag.to_be_bytes(), &frame[12..]].concat()
}

/// One of each kind; no two are equal.
pub(super) fn frames() -> Vec<Vec<u8>> {
    let (host, others) = ([10, 9, 0, 1], [224, 0, 0, 5]);
    let (syn, ack) = (tcp(40000, 80, 2), tcp(80, 40000, 0x12));
    let dns = udp(53, 33000, b"answer");
    let ip = vec![
        ethernet(MAC_B, MAC_A, &v4(6, host, &[], 0x4000, &syn)),
        ethernet(MAC_A, MAC_B, &v4(6, [10, 1, 2, 4], &[], 0x4000, &ack)),
        ethernet(MAC_B, MAC_A, &v4(6, host, &[1, 1, 1, 0], 0, &tcp(1, 443, 0x18))),
        ethernet(MAC_B, MAC_A, &v4(17, host, &[], 0, &dns)),
        ethernet(MAC_B, MAC_A, &v4(17, host, &[], 0x2000, &dns)),
        ethernet(MAC_B, MAC_A, &v4(17, host, &[], 0x00b9, &[0, 53, 0, 80, 9, 9, 9, 9])),
        ethernet(MAC_B, MAC_A, &v4(6, host, &[], 0x0010, &tcp(80, 80, 2))),
        ethernet(MAC_B, MAC_A, &v4(1, host, &[], 0, &[8, 0, 0, 0, 0, 1, 0, 2])),
        ethernet(MAC_A, MAC_B, &v4(1, [10, 1, 2, 4], &[], 0, &[3, 4, 0, 0, 0, 0, 5, 0])),
        ethernet(GROUP, MAC_A, &v4(2, others, &[], 0, &[0x16, 0, 0, 0, 224, 0, 0, 5])),
        ethernet(GROUP, MAC_B, &v4(112, [224, 0, 0, 18], &[], 0, &[0x31, 7])),
        ethernet(EVERYBODY, MAC_A, &v4(17, [255; 4], &[], 0, &udp(68, 67, b"discover"))),
        ethernet(MAC_B, MAC_A, &v4(50, host, &[], 0, &[0, 0, 0, 9, 0, 0, 0, 1])),
        ethernet(MAC_B, MAC_A, &v4(132, host, &[], 0, &[0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0])),
        ethernet(MAC_B, MAC_A, &v6(6, 0xfd00, &tcp(40001, 80, 2))),
        ethernet(MAC_B, MAC_A, &v6(17, 0xfd01, &udp(5000, 53, b"question"))),
        ethernet([0x33, 0x33, 0, 0, 0, 1], MAC_B, &v6(58, 0xff02, &[135, 0, 0, 0, 0, 0, 0, 0])),
        ethernet(MAC_B, MAC_A, &v6(58, 0xfd00, &[128, 0, 0, 0, 0, 0, 0, 0])),
    ];
    [ip, not_ip().split_off(1)].concat()
}
