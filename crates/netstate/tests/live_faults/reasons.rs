//! Every drop reason of the running kernel and of 6.1, 6.12 and 6.18 has words.

use libbpf_rs::btf::{Btf, types};
use taproot_netstate::reasons::lookup;
use taproot_testkit::need;

/// Members of the enums that are no reasons: outcomes, limits, subsystem masks.
const NO_REASONS: [&str; 13] = [
    "SKB_NOT_DROPPED_YET",
    "SKB_CONSUMED",
    "SKB_DROP_REASON_MAX",
    "SKB_DROP_REASON_SUBSYS_MASK",
    "__OVS_DROP_REASON",
    "OVS_DROP_MAX",
    "___RX_CONTINUE",
    "___RX_QUEUED",
    "___RX_DROP_UNUSABLE",
    "___RX_DROP_MONITOR",
    "RX_CONTINUE",
    "RX_QUEUED",
    "RX_DROP_UNUSABLE",
];

/// The enums of the core and of subsystems; those that a kernel lacks are empty.
const ENUMS: [&str; 4] =
    ["skb_drop_reason", "ovs_drop_reason", "mac80211_drop_reason", "___mac80211_drop_reason"];

#[test]
fn every_reason_of_the_running_kernel_has_words() {
    let btf = Btf::from_vmlinux();
    need!(btf.is_ok(), "kernel has no BTF");
    let btf = btf.expect("checked");
    let names: Vec<String> = ENUMS.iter().flat_map(|name| members(&btf, name)).collect();
    let reasons: Vec<&String> =
        names.iter().filter(|name| !NO_REASONS.contains(&name.as_str())).collect();
    assert!(reasons.len() > 60, "only {} reasons in BTF", reasons.len());
    let silent: Vec<_> = reasons.iter().filter(|name| lookup(name).is_none()).collect();
    assert!(silent.is_empty(), "no words for {silent:?}");
    println!("{} of {} reasons have words", reasons.len() - silent.len(), reasons.len());
}

fn members(btf: &Btf<'_>, name: &str) -> Vec<String> {
    let found = btf.type_by_name::<types::Enum<'_>>(name);
    let names = |found: types::Enum<'_>| {
        found.iter().filter_map(|m| Some(m.name?.to_string_lossy().into_owned())).collect()
    };
    found.map(names).unwrap_or_default()
}

#[test]
fn every_reason_of_three_kernels_has_words() {
    // Taken from include/net/dropreason*.h of the three kernels.
    let lists = [
        include_str!("../data/reasons-6.1.txt"),
        include_str!("../data/reasons-6.12.txt"),
        include_str!("../data/reasons-6.18.txt"),
    ];
    for (list, least) in lists.iter().zip([60, 100, 120]) {
        let reasons: Vec<&str> = list.lines().filter(|line| !line.is_empty()).collect();
        assert!(reasons.len() > least, "a list was cut: {}", reasons.len());
        let silent: Vec<_> = reasons.iter().filter(|name| lookup(name).is_none()).collect();
        assert!(silent.is_empty(), "no words for {silent:?}");
    }
}
