//! Against answers of a kernel (6.18, iptables 1.8.9), whole.

use super::*;

/// `-t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.2.0.3:8080`
const DNAT: &str = "02000005080001006e6174000f000200505245524f5554494e4700000c0003000000000000\
    0000029c01040024000100090001006d6574610000000014000200080002000000001008000100000000012c0001\
    0008000100636d700020000200080001000000000108000200000000000c0003000500010006000000340001000c\
    0001007061796c6f6164002400020008000100000000010800020000000001080003000000001008000400000000\
    042c00010008000100636d700020000200080001000000000108000200000000000c000300080001000a60000a34\
    0001000c0001007061796c6f61640024000200080001000000000108000200000000020800030000000002080004\
    00000000022c00010008000100636d700020000200080001000000000108000200000000000c0003000600010000\
    5000002c0001000c000100636f756e746572001c0002000c00010000000000000000000c00020000000000000000\
    005c0001000b00010074617267657400004c00020009000100444e41540000000008000200000000023400030003\
    0000000a0200030000000000000000000000000a0200030000000000000000000000001f901f9000000000000000\
    00";

/// `-A FORWARD -p tcp -m multiport --dports 80,443 -m conntrack --ctstate RELATED,ESTABLISHED -j DROP`
const PORTS_AND_STATE: &str = "020000050b00010066696c74657200000c000200464f5257415244000c0003000000000000\
    000002e801040024000100090001006d6574610000000014000200080002000000001008000100000000012c0001\
    0008000100636d700020000200080001000000000108000200000000000c0003000500010006000000600001000a\
    0001006d61746368000000500002000e0001006d756c7469706f7274000000080002000000000134000300010250\
    00bb01000000000000000000000000000000000000000000000000000000000000000000000000000000000000d8\
    0001000a0001006d61746368000000c80002000e000100636f6e6e747261636b0000000800020000000003ac0003\
    00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    000000000000000000010000000600000000000000000000000000000000002c0001000c000100636f756e746572\
    001c0002000c00010000000000000000000c0002000000000000000000300001000e000100696d6d656469617465\
    0000001c0002000800010000000000100002000c0002000800010000000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("hex") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn a_translation_has_its_address() {
    let (key, meanings) = of_rule(&bytes(DNAT)).expect("a rule");
    assert_eq!(key, ("ip".to_owned(), "nat".to_owned(), 2));
    assert_eq!(meanings, [Meaning::Verdict(Verdict::Dnat("10.2.0.3:8080".to_owned()))]);
}

#[cfg(target_endian = "little")]
#[test]
fn ports_and_states_are_conditions() {
    let (_, meanings) = of_rule(&bytes(PORTS_AND_STATE)).expect("a rule");
    let ports = Condition::DestinationPort(vec![(80, 80), (443, 443)]);
    let states = Condition::State(vec!["established".to_owned(), "related".to_owned()]);
    let expected = [ports, states].map(|one| Meaning::Conditions(vec![(one, false)]));
    assert_eq!(meanings, expected);
}

#[test]
fn what_is_cut_short_is_no_rule_or_not_judged() {
    let whole = bytes(PORTS_AND_STATE);
    for length in 0..whole.len() {
        if let Some((_, meanings)) = of_rule(&whole[..length]) {
            assert!(!meanings.is_empty());
        }
    }
    let unjudged = Condition::Unjudged("-m conntrack".to_owned());
    let cut = matching("conntrack", 3, &Info(&[0; 100]));
    assert_eq!(cut, Meaning::Conditions(vec![(unjudged, false)]));
    assert_eq!(target("DNAT", &Info(&[])), target_named("DNAT"));
}

#[test]
fn a_choice_of_addresses_is_none() {
    let mut range = vec![0; 40];
    range[0..4].copy_from_slice(&MAP_ADDRESS.to_ne_bytes());
    range[4..8].copy_from_slice(&[10, 0, 0, 1]);
    range[20..24].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(new_address(&Info(&range)).as_deref(), Some("10.0.0.1"));
    range[23] = 9;
    assert_eq!(new_address(&Info(&range)), None);
}

#[test]
fn older_iptables_kept_ports_in_extensions() {
    let mut tcp = Vec::new();
    for port in [0, u16::MAX, 8080, 8090] {
        tcp.extend(port.to_ne_bytes());
    }
    tcp.extend([0, 0, 0, 2]);
    let ports = Condition::DestinationPort(vec![(8080, 8090)]);
    assert_eq!(matching("tcp", 0, &Info(&tcp)), Meaning::Conditions(vec![(ports, true)]));
    tcp[9] = 0x17;
    assert_eq!(matching("tcp", 0, &Info(&tcp)), match_named("tcp"));
}
