use super::*;
use proptest::prelude::*;

/// A packet's fields.
#[derive(Clone, Copy)]
struct Packet([u32; Field::COUNT]);

impl Packet {
    fn new(protocol: u32, source: &str, destination: &str) -> Self {
        let mut packet = Self([0; Field::COUNT]);
        let (source, sport) = end(source);
        let (destination, dport) = end(destination);
        packet.set(Field::Family, if source.is_ipv4() { 4 } else { 6 });
        packet.set(Field::Protocol, protocol);
        for at in 0..4 {
            packet.set(Field::Source(at), word(source, at));
            packet.set(Field::Destination(at), word(destination, at));
        }
        packet.set(Field::Ports, u32::from(matches!(protocol, 6 | 17)));
        packet.set(Field::SourcePort, sport.into());
        packet.set(Field::DestinationPort, dport.into());
        packet.set(Field::Length, 100);
        packet
    }

    fn with(mut self, field: Field, value: u32) -> Self {
        self.set(field, value);
        self
    }

    fn set(&mut self, field: Field, value: u32) {
        self.0[usize::from(field.number())] = value;
    }

    fn passes(&self, filter: &str) -> bool {
        let tests = Expr::parse(filter).expect(filter).compile().expect(filter);
        assert!(
            tests.iter().zip(0u8..).all(|(test, at)| test.yes > at && test.no > at),
            "{filter}: every target lies behind its test: {tests:?}"
        );
        evaluate(&tests, &seen(self))
    }
}

/// What is seen of a packet of which only the fields count.
fn seen(packet: &Packet) -> Seen<'static> {
    Seen { fields: packet.0, ..Seen::default() }
}

fn end(text: &str) -> (IpAddr, u16) {
    match text.parse::<std::net::SocketAddr>() {
        Ok(addr) => (addr.ip(), addr.port()),
        Err(_) => (text.parse().expect(text), 0),
    }
}

fn word(address: IpAddr, at: u8) -> u32 {
    match address {
        IpAddr::V4(v4) => {
            if at == 0 {
                v4.to_bits()
            } else {
                0
            }
        }
        IpAddr::V6(v6) => (v6.to_bits() >> (96 - 32 * u32::from(at))) as u32,
    }
}

#[test]
fn hosts_nets_and_ports_with_their_sides() {
    let packet = Packet::new(6, "10.1.2.3:40000", "10.9.0.1:80");
    for yes in [
        "",
        "ip",
        "tcp",
        "host 10.1.2.3",
        "10.9.0.1",
        "src 10.1.2.3",
        "src host 10.1.2.3",
        "dst net 10.9.0.0/16",
        "net 10.0.0.0/8",
        "port 80",
        "tcp dst port 80",
        "portrange 79-81",
        "src or dst port 80",
        "not udp",
        "! udp && tcp",
        "host 9.9.9.9 or 10.9.0.1",
        "port 53 or 80",
        "tcp and (port 443 or port 80)",
        "ip proto 6",
        "proto 6",
        "greater 100",
        "less 100",
        "src and dst net 10.0.0.0/8",
        "ip host 10.1.2.3",
        "net 10.1 and not net 10.2",
        "net 10.9.0.0 mask 255.255.0.0",
        "not arp and not stp and not ether proto 0x88cc",
        "arp host 10.1.2.3 or mpls 5 or pppoes 7 or tcp",
        "ip proto \\tcp",
        "ether proto \\ip",
        "net 0.0.0.0/0",
    ] {
        assert!(packet.passes(yes), "{yes}");
    }
    for no in [
        "ip6",
        "udp",
        "icmp",
        "dst 10.1.2.3",
        "src port 80",
        "udp port 80",
        "port 8080",
        "portrange 81-90",
        "not tcp",
        "net 10.9.0.0/24 and src net 10.9.0.0/24",
        "less 99",
        "host 10.1.2.3 and host 10.1.2.4",
        "net ::/0",
        "src and dst port 80",
        "udp port 53 or 80",
    ] {
        assert!(!packet.passes(no), "{no}");
    }
}

#[test]
fn addresses_of_version_six_have_four_words() {
    let packet = Packet::new(17, "[fd00::1]:53", "[fd00:0:0:1::2]:999");
    for yes in ["host fd00::1", "dst net fd00:0:0:1::/64", "net fd00::/16", "ip6 and udp"] {
        assert!(packet.passes(yes), "{yes}");
    }
    for no in ["host fd00::2", "dst net fd00::/64", "ip", "host 10.0.0.1"] {
        assert!(!packet.passes(no), "{no}");
    }
}

#[test]
fn flags_and_types() {
    let syn = Packet::new(6, "10.0.0.1:1", "10.0.0.2:2").with(Field::TcpFlags, 2);
    let syn_ack = syn.with(Field::TcpFlags, 0x12);
    let first = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn";
    assert!(syn.passes(first) && !syn_ack.passes(first));
    assert!(syn_ack.passes("tcp[tcpflags] & tcp-ack != 0"));
    assert!(!syn.passes("tcp[13] & 0x10 != 0"));
    let echo = Packet::new(1, "10.0.0.1", "10.0.0.2");
    assert!(echo.with(Field::Ttl, 3).passes("ip[8] < 4") && !echo.passes("ip[8] > 0"));
    assert!(!echo.passes("port 0"), "ICMP has no ports");
}

#[test]
fn what_is_beyond_pcap() {
    let packet = Packet::new(6, "10.0.0.1:1", "10.0.0.2:2").with(Field::Netns, 4_026_531_840);
    assert!(packet.passes("netns 4026531840") && !packet.passes("netns 1 or mark 7"));
    assert!(packet.with(Field::Mark, 0x100).passes("mark 0x100 and not ifindex 3"));
}

#[test]
fn errors_show_the_place_and_a_hint() {
    let cases = [
        ("host example.com", "`example.com` is no address", 5, "no others are looked up"),
        ("tcp and", "it ends too early", 7, "missing"),
        ("port 99999", "`99999` is no port", 5, "65535"),
        ("(tcp or udp", "a parenthesis is not closed", 11, "`)`"),
        ("tcp udp", "this does not go on", 4, "`and`"),
        ("tcp or gateway x", "`gateway` cannot be asked for", 7, "ether host"),
        ("ether proto tcp", "no protocol of frames", 12, "`arp`"),
        ("ether proto 0x10000", "no protocol of frames", 12, "a number"),
        ("mpls 1048576", "there is no such number", 5, "1048575"),
        ("arp port 80 or", "it ends too early", 14, "missing"),
        ("ether host 10.0.0.1", "`10.0.0.1` is no link address", 11, "02:00"),
        ("ip broadcast", "which addresses are for everybody is not known", 3, "10.0.0.255"),
        ("vlan 5000", "no VLAN has this number", 5, "4095"),
        ("ip[2:3] = 1", "this size is not possible", 5, "4 bytes"),
        ("ip[2", "a bracket is not closed", 4, "`]`"),
        ("ip[tcp] = 1", "an offset is missing", 6, "ip[6:2]"),
        ("tcp or (ip[0 & 3) = 2", "a bracket is not closed", 16, "`]`"),
        ("ip[0] & (3 = 2", "a parenthesis is not closed", 11, "`)`"),
        ("ip[0] / 0 = 2", "this divides by zero", 10, "take it out"),
        ("ip[0] + 1", "a comparison is missing", 9, "== 0"),
        ("3 < -", "a number is missing", 5, "0x6"),
        ("port nonsuch", "`nonsuch` is no port", 5, "/etc/services"),
        ("ip proto foo", "no protocol of IP", 9, "a number"),
        ("net 10.0.0.0 mask 255.0.255.0", "`10.0.0.0` is no network", 4, "/8"),
        ("net 10.1.2.3.4", "`10.1.2.3.4` is no network", 4, "/8"),
        ("net 10.0.0.0/33", "`10.0.0.0/33` is no network", 4, "/8"),
        ("tcp)", "this parenthesis was not opened", 3, "away"),
        ("portrange 9-3", "`9-3` is no range of ports", 10, "8000-8080"),
    ];
    for (text, what, at, hint) in cases {
        let error = Expr::parse(text).expect_err(text);
        assert_eq!((error.what.as_str(), error.at), (what, at), "{text}");
        assert!(error.hint.contains(hint), "{error}");
    }
    let deep = "(".repeat(5000);
    assert!(Expr::parse(&deep).is_err(), "no stack overflow");
}

#[test]
fn calculations_have_limits() {
    let sum = |count| vec!["ip[0]"; count].join(" + ") + " = 5";
    assert!(Expr::parse(&sum(8)).expect("fifteen operations").compile().is_ok());
    let error = Expr::parse(&format!("tcp or {}", sum(9))).expect_err("seventeen");
    assert_eq!((error.what.as_str(), error.at), ("this calculation is too long", 7));
    let balanced = (0..4).fold("ip[0]".to_owned(), |one, _| format!("({one} * {one})"));
    assert!(Expr::parse(&format!("{balanced} = 5")).is_err(), "it takes five registers");
    let different: Vec<String> = (0..25).map(|n| format!("ip[0] + ip[1] + {n} = 5")).collect();
    let all = Expr::parse(&different.join(" or ")).expect("each is short").compile();
    assert_eq!(all, Err(TooLong::Operations(100)));
    let same = vec!["ip[0] + ip[1] + 7 = 5"; 25].join(" or ");
    assert!(Expr::parse(&same).expect("short").compile().is_ok(), "entered once");
}

/// What has no packet at all is decided at once, and what is one field is no calculation.
#[test]
fn what_can_be_known_before_is_not_calculated() {
    let tests = |text: &str| Expr::parse(text).expect(text).compile().expect(text);
    assert!(tests("1 + 2 * 3 = 7 and - 1 = 0xffffffff and 1 << 33 = 0").is_empty());
    assert_eq!(tests("ip[4 + 2 : 2] & (1 << 13) != 0"), tests("ip[6:2] & 0x2000 != 0"));
    assert_eq!(tests("64 > ip[8]"), tests("ip[8] < 64"));
    assert_eq!(tests("len <= 100"), tests("less 100"));
    let calculated = |text| tests(text).iter().any(|t| matches!(t.field, Field::Calculated(_)));
    assert!(calculated("ip[0] >> 4 = 4") && !calculated("0xf & ip[0] = 5"));
}

#[test]
fn a_filter_has_a_limit_and_an_impossible_one_passes_nothing() {
    let many: Vec<String> = (1..200).map(|n| format!("host 10.0.0.{n}")).collect();
    assert!(matches!(
        Expr::parse(&many.join(" or ")).expect("valid").compile(),
        Err(TooLong::Tests(_))
    ));
    let nothing = Expr::Any(Vec::new()).compile().expect("short");
    assert!(!evaluate(&nothing, &Seen::default()));
}

/// A condition that cannot hold stands before one that need not be asked then.
#[test]
fn what_an_impossible_condition_hides_is_not_asked() {
    let nothing = Expr::Any(Vec::new());
    let hidden = Expr::All(vec![nothing, Expr::is(Field::Protocol, 6)]);
    let tests = Expr::Any(vec![hidden, Expr::is(Field::Ttl, 1)]).compile().expect("short");
    assert_eq!(tests.len(), 1, "{tests:?}");
    let packet = Packet::new(6, "10.0.0.1:1", "10.0.0.2:2");
    assert!(!evaluate(&tests, &seen(&packet)));
    assert!(evaluate(&tests, &seen(&packet.with(Field::Ttl, 1))));
}

/// The meaning of a condition, straight from its form.
fn meaning(expr: &Expr, fields: &[u32; Field::COUNT]) -> bool {
    match expr {
        Expr::Ask { field, compare, mask, value } => {
            let test = Test {
                field: *field,
                compare: *compare,
                mask: *mask,
                value: *value,
                yes: 0,
                no: 0,
            };
            test.holds(fields[usize::from(field.number())])
        }
        Expr::Not(inner) => !meaning(inner, fields),
        Expr::All(parts) => parts.iter().all(|part| meaning(part, fields)),
        Expr::Any(parts) => parts.iter().any(|part| meaning(part, fields)),
    }
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let compare = prop_oneof![
        Just(Compare::Equal),
        Just(Compare::AtLeast),
        Just(Compare::AtMost),
        Just(Compare::AnyBit)
    ];
    let field = prop_oneof![Just(Field::Protocol), Just(Field::Ttl), Just(Field::Mark)];
    let ask = (field, compare, 0u32..4, 0u32..4)
        .prop_map(|(field, compare, mask, value)| Expr::Ask { field, compare, mask, value });
    ask.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|e| Expr::Not(Box::new(e))),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::All),
            prop::collection::vec(inner, 0..3).prop_map(Expr::Any),
        ]
    })
}

proptest! {
    #[test]
    fn compiled_tests_mean_what_the_condition_means(
        expr in any_expr(), protocol in 0u32..4, ttl in 0u32..4, mark in 0u32..4
    ) {
        let mut fields = [0; Field::COUNT];
        fields[usize::from(Field::Protocol.number())] = protocol;
        fields[usize::from(Field::Ttl.number())] = ttl;
        fields[usize::from(Field::Mark.number())] = mark;
        if let Ok(tests) = expr.compile() {
            prop_assert_eq!(evaluate(&tests, &Seen { fields, ..Seen::default() }), meaning(&expr, &fields));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9 ./()&|!=<>\\[\\]-]{0,60}") {
        let _ = Expr::parse(&text);
    }
}
