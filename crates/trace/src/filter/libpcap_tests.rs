//! The filter beside libpcap's: the same packets must pass.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use taproot_testkit::need_commands;

use super::samples::{frames, tagged};
use super::*;

/// What the kernel's programs see of a frame, whose tag lies beside it.
fn passes(tests: &[Test], frame: &[u8]) -> bool {
    let tag = (frame[12..14] == [0x81, 0]).then(|| u32::from(be(&frame[14..16]) as u16));
    let link = [&frame[..12], &frame[if tag.is_some() { 16..18 } else { 12..14 }]].concat();
    let ip = &frame[if tag.is_some() { 18 } else { 14 }..];
    let mut seen = Seen { link: &link, ip, ..Seen::default() };
    let mut set = |field: Field, value| seen.fields[usize::from(field.number())] = value;
    set(Field::Vlan, tag.map_or(0, |tag| Field::TAGGED | tag));
    let kind = be(&link[12..14]) as u16;
    if kind != 0x0800 && kind != 0x86dd {
        // Frames with a length are told by the kernel like this.
        let kind = match kind {
            0..1536 if ip.starts_with(&[0xff, 0xff]) => 1,
            0..1536 => 4,
            kind => kind,
        };
        set(Field::Family, Field::frame(kind));
        set(Field::Length, ip.len() as u32);
        if matches!(kind, 0x0806 | 0x8035) {
            set(Field::Source(0), be(&ip[14..18]));
            set(Field::Destination(0), be(&ip[24..28]));
        }
        return evaluate(tests, &seen);
    }
    let (l4, protocol) = if ip[0] >> 4 == 4 {
        set(Field::Family, 4);
        set(Field::Ttl, ip[8].into());
        set(Field::Source(0), be(&ip[12..16]));
        set(Field::Destination(0), be(&ip[16..20]));
        let offset = be(&ip[6..8]) & 0x1fff;
        ((offset == 0).then(|| usize::from(ip[0] & 15) * 4), ip[9])
    } else {
        set(Field::Family, 6);
        set(Field::Ttl, ip[7].into());
        for word in 0..4u8 {
            let at = usize::from(word) * 4;
            set(Field::Source(word), be(&ip[8 + at..12 + at]));
            set(Field::Destination(word), be(&ip[24 + at..28 + at]));
        }
        (Some(40), ip[6])
    };
    set(Field::Protocol, protocol.into());
    set(Field::Length, ip.len() as u32);
    if let Some(at) = l4.filter(|_| matches!(protocol, 6 | 17 | 132)) {
        set(Field::Ports, 1);
        set(Field::SourcePort, be(&ip[at..at + 2]));
        set(Field::DestinationPort, be(&ip[at + 2..at + 4]));
        if protocol == 6 {
            set(Field::TcpFlags, ip[at + 13].into());
        }
    }
    seen.transport = l4;
    evaluate(tests, &seen)
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// Of the frames those that libpcap lets pass.
fn by_tcpdump(frames: &[Vec<u8>], filter: &str) -> Result<Vec<bool>, String> {
    // Not optimised: what libpcap means, and not what it leaves out.
    let mut child = Command::new("tcpdump")
        .args(["-n", "-O", "-r", "-", "-w", "-", "--", filter])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut file = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
    for frame in frames {
        let length = frame.len() as u32;
        file.extend([0, 0, length, length].map(u32::to_le_bytes).concat());
        file.extend(frame);
    }
    // It may end before it has read all: then its message says why.
    let _ = child.stdin.take().expect("piped").write_all(&file);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{filter}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut passed = HashSet::new();
    let mut rest = output.stdout.get(24..).unwrap_or_default();
    while let Some((head, more)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
        let (frame, after) = more.split_at(length);
        passed.insert(frame.to_vec());
        rest = after;
    }
    Ok(frames.iter().map(|frame| passed.contains(frame)).collect())
}

fn ours(frames: &[Vec<u8>], filter: &str) -> Vec<bool> {
    let tests = Expr::parse(filter).unwrap_or_else(|error| panic!("{error}"));
    let tests = tests.compile().expect(filter);
    frames.iter().map(|frame| passes(&tests, frame)).collect()
}

/// `tcp[...]` and `udp[...]` are of IPv4 alone in libpcap, and of both here.
const ATOMS: [&str; 91] = [
    "ip",
    "ip6",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "esp",
    "vrrp",
    "ip proto 6",
    "ip6 proto 58",
    "proto \\udp",
    "ip proto \\tcp",
    "host 10.9.0.1",
    "src host 10.1.2.3",
    "dst host fd00::2",
    "host fd00::1",
    "net 10.0.0.0/8",
    "dst net 10.9",
    "net 10.1.2.0/24",
    "dst net 10.9.0.0 mask 255.255.0.0",
    "dst net fd00::/16",
    "port 80",
    "src port 53",
    "tcp dst port 80",
    "udp port 53",
    "portrange 50-90",
    "tcp portrange 1-80",
    "ip host 10.9.0.1",
    "ether host 02:00:00:00:00:0a",
    "ether src 02:00:00:00:00:0b",
    "ether dst host 02:00:00:00:00:0b",
    "ether proto \\ip",
    "ether proto 0x86dd",
    "ether broadcast",
    "broadcast",
    "ether multicast",
    "multicast",
    "ip multicast",
    "ip6 multicast",
    "ether[0] & 1 != 0",
    "ether[6:4] = 0x02000000",
    "link[12:2] = 0x800",
    "ether[20:2] > 0",
    "ip[0] & 0xf != 5",
    "ip[6:2] & 0x1fff != 0",
    "ip[6] & 0x20 != 0",
    "ip[8] = 61",
    "ip[8] < 61",
    "ip[16] >= 224",
    "ip[2:2] > 36",
    "ip[2:2] != 40",
    "ip6[6] = 17",
    "ip6[7] > 63",
    "ip and tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn",
    "ip and tcp[13] != 2",
    "ip and tcp[0:2] != 80",
    "ip and tcp[2:2] < 100",
    "ip and tcp[4:4] = 256",
    "ip and udp[4:2] >= 14",
    "ip and udp[8:4] = 0x616e7377",
    "icmp[icmptype] = icmp-unreach",
    "icmp[icmpcode] != 0",
    "icmp[0] > 3",
    "ip[33] = 80",
    "ip and tcp[12] + ((ip[0] & 0xf) << 2) > 84",
    "(ip[0] & 0xf) << 2 = 20",
    "(ip[0] & 0xf) << 2 != 20",
    "ip[0] >> 4 = 4",
    "ip and tcp[((tcp[12:1] & 0xf0) >> 2) - 4 : 4] & 0xffff0000 = 0x20000000",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 20",
    "ip[8] * 2 + 1 = 123",
    "ip[9] % 5 = 2",
    "ip[2:2] / 10 >= 4",
    "ip and 100 / ip[1] = 1",
    "ip and 100 / (ip[8] - 61) < 3",
    "ip[12:4] ^ ip[16:4] < 0x10000000",
    "ip and (ip[8] | 2) != 63",
    "- ip[9] = 0xfffffffa",
    "ip[8] - ip[9] > 50",
    "ip[9] - ip[8] > 50",
    "ip[9] * 10 <= ip[2:2]",
    "ip[6:2] & 0x1fff >= ip[4:2]",
    "ip and 1 << ip[9] = 64",
    "ip and 0x80000000 >> (ip[8] - 30) != 0",
    "ip and ip[((ip[0] & 0xf) << 2) + 2 : 2] = 80",
    "ip6[6] + ip6[7] > 90",
    "ether[ether[14] & 0xf] = 10",
    "tcp[0:2] < tcp[2:2] and ip",
    "ip[ip[9] * 4] = 8",
];

/// Filters that are more than an atom, or are not to be put together with others.
const WHOLE: [&str; 19] = [
    "tcp and (port 80 or port 443) and not host 10.9.0.1",
    "not broadcast and not multicast",
    "not (ip and tcp[0:2] != 80)",
    "not icmp[0] = 8",
    "(ip and udp[8:4] = 0x616e7377) or tcp",
    "tcp or (ip and udp[100] = 1)",
    "(ip and udp[100] = 1) or tcp",
    "not ip[100] = 1",
    "not ip6[100] = 1",
    "host 10.9.0.1 or 10.1.2.4",
    "port 53 or 67",
    "ether src 02:00:00:00:00:0a or 02:00:00:00:00:0b",
    "icmp6[icmp6type] = icmp6-echo",
    "port http",
    "tcp port http or udp dst port domain",
    "host localhost or port 53",
    "ip and not (100 / ip[1] = 1)",
    "ip and not (ip[100 : 2] < 0)",
    "ip and not (ip[ip[9] * 4 : 4] > 0xffffffff)",
];

/// Of frames that are not IP, besides all of the above. What follows a label or a session
/// libpcap reads inside of it, and this does not.
const FRAMES: [&str; 48] = [
    "arp",
    "rarp",
    "aarp",
    "atalk",
    "decnet",
    "ipx",
    "iso",
    "netbeui",
    "stp",
    "llc",
    "lat",
    "mopdl",
    "moprc",
    "mpls",
    "mpls 100",
    "mpls 101",
    "pppoed",
    "pppoes",
    "pppoes 7",
    "pppoes 8",
    "ether proto 0x88cc",
    "ether proto \\arp",
    "ether proto 0x0806",
    "ether proto 0x42",
    "ether proto 0xfe",
    "ether proto 0x8137",
    "ether proto 0x8847 or rarp",
    "not arp",
    "not arp and not ip and not llc",
    "arp host 10.1.2.3",
    "arp src host 10.1.2.3",
    "arp dst 10.9.0.1",
    "arp net 10.9.0.0/16",
    "arp src net 10.1",
    "arp src or dst host 10.1.2.4",
    "rarp host 192.168.0.1",
    "host 10.1.2.3 and not ip",
    "src host 10.1.2.3 and (arp or icmp)",
    "net 192.168.0.0/16",
    "arp[6:2] = 1",
    "arp[7] = 2 and arp[14:4] = 0x0a010204",
    "not arp[6:2] = 1",
    "rarp[6:2] > 2",
    "arp[arp[4] + 8] = 10",
    "arp[14:4] != arp[24:4]",
    "ether host 02:00:00:00:00:0a and not ip and not ip6",
    "broadcast and not ip",
    "ip proto 0 or proto 0",
];

#[test]
fn other_frames_are_those_of_libpcap() {
    need_commands!("tcpdump");
    let frames = frames();
    for filter in FRAMES {
        let theirs = by_tcpdump(&frames, filter).expect("tcpdump knows it");
        assert_eq!(ours(&frames, filter), theirs, "{filter}");
        assert!(!filter.starts_with("arp") || theirs.contains(&true), "{filter} tells nothing");
        let negated = format!("not ({filter})");
        let theirs = by_tcpdump(&frames, &negated).expect("tcpdump knows it");
        assert_eq!(ours(&frames, &negated), theirs, "{negated}");
    }
}

#[test]
fn the_same_packets_pass_as_with_libpcap() {
    need_commands!("tcpdump");
    let frames = frames();
    for filter in ATOMS.into_iter().chain(WHOLE) {
        let theirs = by_tcpdump(&frames, filter).expect("tcpdump knows it");
        assert_eq!(ours(&frames, filter), theirs, "{filter}");
        let negated = format!("not ({filter})");
        let theirs = by_tcpdump(&frames, &negated).expect("tcpdump knows it");
        assert_eq!(ours(&frames, &negated), theirs, "{negated}");
    }
}

#[test]
fn tags_are_those_of_libpcap() {
    need_commands!("tcpdump");
    let plain = frames();
    let with_tags = [0x0005, 0xa005, 0x0fff].map(|tag| tagged(tag, &plain[0]));
    let frames = [&plain[..1], &with_tags].concat();
    for filter in [
        "vlan",
        "vlan 5",
        "vlan 4095",
        "vlan 6",
        "not vlan",
        "vlan 5 and tcp port 80",
        "vlan and udp",
    ] {
        let theirs = by_tcpdump(&frames, filter).expect("tcpdump knows it");
        assert_eq!(ours(&frames, filter), theirs, "{filter}");
    }
}

fn composed() -> impl Strategy<Value = String> {
    // Labels and sessions change what libpcap means by all that follows.
    let frames =
        FRAMES.into_iter().filter(|filter| !filter.contains("mpls") && !filter.contains("pppoe"));
    let atoms: Vec<&str> = ATOMS.into_iter().chain(frames).collect();
    prop::sample::select(atoms).prop_map(str::to_owned).prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("not ({one})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) or ({b})")),
        ]
    })
}

/// Calculations in parentheses: how tightly `^` and `%` bind libpcap does not say.
fn calculated() -> impl Strategy<Value = String> {
    let leaves = ["ip[0]", "ip[2:2]", "ip[9]", "ip[12:4]", "ip[20:2]", "3", "0x1f", "0"];
    let operators = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"];
    prop::sample::select(leaves.to_vec()).prop_map(str::to_owned).prop_recursive(4, 12, 2, move |inner| {
        let operator = prop::sample::select(operators.to_vec());
        prop_oneof![
            3 => (inner.clone(), operator, inner.clone()).prop_map(|(a, by, b)| format!("({a} {by} {b})")),
            1 => inner.clone().prop_map(|one| format!("(- {one})")),
            1 => inner.prop_map(|at| format!("ip[{at} & 0x1f : 2]")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn what_is_calculated_is_what_libpcap_calculates(
        left in calculated(),
        sign in prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]),
        right in calculated(),
        negated in any::<bool>(),
    ) {
        let not = if negated { "not " } else { "" };
        let filter = format!("ip and {not}({left} {sign} {right})");
        // Neither takes a division by zero that is written down; ours has shorter ones, too.
        let parsed = Expr::parse(&filter).ok().and_then(|expr| expr.compile().ok());
        if let Some(tests) = parsed && taproot_testkit::missing_commands(&["tcpdump"]).is_empty() {
            let frames = frames();
            if let Ok(theirs) = by_tcpdump(&frames, &filter) {
                let ours: Vec<_> = frames.iter().map(|frame| passes(&tests, frame)).collect();
                prop_assert_eq!(ours, theirs, "{}", filter);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn what_is_put_together_passes_the_same_packets(filter in composed()) {
        if taproot_testkit::missing_commands(&["tcpdump"]).is_empty() {
            let frames = frames();
            let theirs = by_tcpdump(&frames, &filter).map_err(TestCaseError::fail)?;
            prop_assert_eq!(ours(&frames, &filter), theirs);
        }
    }
}
