//! What a function did with a packet, of the kernel's record.

use taproot_model::{Call, Name, NetfilterHook};

use super::event::{tcp_state, text};
use super::raw::call;
use super::skeleton::types::trace_call;

/// `NFPROTO_IPV6`.
const IPV6: u8 = 10;

/// The step's details; `any` names the function where it is none of the chosen ones.
pub(super) fn decode(raw: &trace_call, any: impl FnOnce() -> Name) -> Call {
    let is_v6 = raw.family == IPV6;
    let table = text(&raw.table);
    let blank = Call {
        function: Name::default(),
        returned: Some(raw.value),
        meaning: Name::default(),
        object: Name::default(),
        netfilter: hook(raw.hook),
    };
    match raw.function {
        call::HOOK => Call { function: "nf_hook_slow".into(), meaning: "accept".into(), ..blank },
        call::TABLE => {
            let (function, tool) =
                if is_v6 { ("ip6t_do_table", "ip6tables") } else { ("ipt_do_table", "iptables") };
            Call {
                function: function.into(),
                meaning: verdict(raw.value),
                object: format!("{tool} {table}").into(),
                ..blank
            }
        }
        call::CHAIN => Call {
            function: "nft_do_chain".into(),
            meaning: verdict(raw.value),
            object: format!("nft {table} {}", text(&raw.chain)).into(),
            ..blank
        },
        call::TRANSLATION => Call {
            function: "nf_nat_manip_pkt".into(),
            returned: None,
            meaning: if raw.value == 0 { "source" } else { "destination" }.into(),
            ..blank
        },
        call::DECISION => Call {
            function: if is_v6 { "ip6_route_input" } else { "ip_route_input_noref" }.into(),
            meaning: decision(raw).into(),
            object: table,
            ..blank
        },
        call::SEGMENT => Call {
            function: if is_v6 { "tcp_v6_do_rcv" } else { "tcp_v4_do_rcv" }.into(),
            returned: None,
            meaning: tcp_state(raw.value),
            ..blank
        },
        call::DATAGRAM => {
            Call { function: "__udp_enqueue_schedule_skb".into(), returned: None, ..blank }
        }
        call::GROUP => {
            Call { function: "__cgroup_bpf_run_filter_skb".into(), meaning: "drop".into(), ..blank }
        }
        _ => Call { function: any(), returned: None, ..blank },
    }
}

/// One more than netfilter's own number.
fn hook(number: u8) -> Option<NetfilterHook> {
    Some(match number {
        1 => NetfilterHook::Prerouting,
        2 => NetfilterHook::Input,
        3 => NetfilterHook::Forward,
        4 => NetfilterHook::Output,
        5 => NetfilterHook::Postrouting,
        _ => return None,
    })
}

/// `NF_DROP` and `NF_ACCEPT`; packets with other verdicts are not looked at.
fn verdict(number: i32) -> Name {
    if number == 0 { "drop" } else { "accept" }.into()
}

/// What a lookup for a received packet led to. A refusal is an errno or, on newer
/// kernels, the reason of the drop that follows.
fn decision(raw: &trace_call) -> &'static str {
    match (raw.value, raw.kind) {
        (0, 2) => "local",
        (0, 3) => "broadcast",
        (0, 5) => "multicast",
        (0, 1) => "forward",
        (0, _) => "decided",
        (-18, _) => "refused by the reverse path",
        (-22, _) => "refused as martian or blackhole",
        (-13, _) => "prohibited",
        (-101 | -113, _) => "unreachable",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(function: u32) -> trace_call {
        let mut raw: trace_call = crate::from_bytes(&vec![0; size_of::<trace_call>()]).unwrap();
        raw.function = function;
        raw
    }

    fn named(raw: &mut [i8; 32], name: &str) {
        for (to, from) in raw.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
    }

    #[test]
    fn tables_and_chains_have_the_names_that_tools_print() {
        let mut raw = blank(call::TABLE);
        named(&mut raw.table, "filter");
        raw.hook = 3;
        let made = decode(&raw, Name::default);
        assert_eq!((made.object.as_str(), made.meaning.as_str()), ("iptables filter", "drop"));
        assert_eq!(made.netfilter, Some(NetfilterHook::Forward));
        let mut raw = blank(call::CHAIN);
        named(&mut raw.table, "fw");
        named(&mut raw.chain, "forward");
        raw.value = 1;
        let made = decode(&raw, Name::default);
        assert_eq!((made.object.as_str(), made.meaning.as_str()), ("nft fw forward", "accept"));
        assert_eq!(made.netfilter, None);
    }

    #[test]
    fn decisions_are_told_by_kind_and_error() {
        let meaning = |value, kind| {
            let mut raw = blank(call::DECISION);
            (raw.value, raw.kind) = (value, kind);
            decode(&raw, Name::default).meaning
        };
        assert_eq!(meaning(0, 2).as_str(), "local");
        assert_eq!(meaning(0, 1).as_str(), "forward");
        assert_eq!(meaning(-18, 0).as_str(), "refused by the reverse path");
        assert_eq!(meaning(-113, 7).as_str(), "unreachable");
        assert_eq!(meaning(6, 0).as_str(), "refused", "a reason of newer kernels");
    }

    #[test]
    fn functions_of_ipv6_are_named_so() {
        let named = |function, family| {
            let mut raw = blank(function);
            raw.family = family;
            decode(&raw, Name::default).function
        };
        assert_eq!(named(call::DECISION, IPV6).as_str(), "ip6_route_input");
        assert_eq!(named(call::SEGMENT, IPV6).as_str(), "tcp_v6_do_rcv");
        assert_eq!(named(call::SEGMENT, 2).as_str(), "tcp_v4_do_rcv");
    }

    #[test]
    fn another_function_has_its_own_name() {
        let made = decode(&blank(call::ANY), || "skb_clone".into());
        assert_eq!((made.function.as_str(), made.returned), ("skb_clone", None));
    }
}
