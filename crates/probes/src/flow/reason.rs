//! Names of the kernel's drop reasons.

use std::collections::BTreeMap;

use taproot_model::Name;

use crate::btf::KernelBtf;

/// Enumerations of drop reasons: the core's and the subsystems', whose numbers
/// hold the subsystem in their top 16 bits. Absent ones are no error.
const ENUMERATIONS: [&str; 5] = [
    "skb_drop_reason",
    "mac80211_drop_reason",
    "ovs_drop_reason",
    "qdisc_drop_reason",
    "dualpi2_drop_reason",
];

/// The running kernel's drop reasons. Their numbers move between kernels, so they
/// come from its own type information.
#[derive(Debug, Default)]
pub struct DropReasons {
    names: BTreeMap<u32, Name>,
    subsystems: BTreeMap<u32, String>,
}

impl DropReasons {
    /// Reads the names.
    pub fn of(kernel: &KernelBtf) -> Self {
        let mut names = BTreeMap::new();
        for enumeration in ENUMERATIONS {
            for (value, name) in kernel.enumeration(enumeration) {
                names.insert(value as u32, Name::from(short(&name)));
            }
        }
        let subsystems = kernel
            .enumeration("skb_drop_reason_subsys")
            .into_iter()
            .map(|(id, name)| (id as u32, name.replace("SKB_DROP_REASON_SUBSYS_", "")))
            .collect();
        Self { names, subsystems }
    }

    /// The number of a reason on this kernel; `None` where it does not exist.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.names.iter().find(|(_, known)| known.as_str() == name).map(|(number, _)| *number)
    }

    /// The name of a reason (`NETFILTER_DROP`). One that the kernel's type
    /// information does not list is told by subsystem and number.
    pub fn name(&self, reason: u32) -> Name {
        if let Some(name) = self.names.get(&reason) {
            return name.clone();
        }
        let (subsystem, number) = (reason >> 16, reason & 0xffff);
        match self.subsystems.get(&subsystem) {
            Some(name) => Name::from(format!("{name}_{number}")),
            None => Name::from(format!("UNKNOWN_{subsystem}_{number}")),
        }
    }
}

/// Without the prefix that all members of an enumeration share.
fn short(name: &str) -> &str {
    ["SKB_DROP_REASON_", "SKB_", "QDISC_DROP_", "___"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use taproot_testkit::{need, skip};

    #[test]
    fn decodes_the_running_kernels_reasons() {
        let kernel = match KernelBtf::load() {
            Ok(kernel) => kernel,
            Err(why) => skip!("{why}"),
        };
        let reasons = DropReasons::of(&kernel);
        need!(!reasons.names.is_empty(), "this kernel has no drop reasons");
        let known: Vec<&str> = reasons.names.values().map(Name::as_str).collect();
        for name in ["NETFILTER_DROP", "NO_SOCKET", "SOCKET_RCVBUFF", "NOT_SPECIFIED"] {
            assert!(known.contains(&name), "{name} is not among {known:?}");
        }
        let number = reasons.number("NO_SOCKET").expect("found above");
        assert_eq!(reasons.name(number).as_str(), "NO_SOCKET");
    }

    #[test]
    fn an_unlisted_reason_keeps_its_number() {
        let reasons = DropReasons {
            names: BTreeMap::new(),
            subsystems: BTreeMap::from([(2, "OPENVSWITCH".to_owned())]),
        };
        assert_eq!(reasons.name(0x2_0003).as_str(), "OPENVSWITCH_3");
        assert_eq!(reasons.name(0x9_0001).as_str(), "UNKNOWN_9_1");
    }
}
