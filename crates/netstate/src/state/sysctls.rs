//! Switches of the namespace that decide over packets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where the switches are; what the path shows is that of the reading thread's
/// namespace.
const ROOT: &str = "/proc/sys/net";

/// Switches of the namespace as a whole.
const GLOBAL: [&str; 15] = [
    "ipv4/ip_forward",
    "ipv4/ip_default_ttl",
    "ipv4/icmp_echo_ignore_all",
    "ipv4/tcp_max_syn_backlog",
    "ipv4/tcp_syncookies",
    "ipv4/tcp_rmem",
    "ipv4/tcp_wmem",
    "ipv4/udp_rmem_min",
    "core/somaxconn",
    "core/rmem_default",
    "core/rmem_max",
    "core/netdev_max_backlog",
    "bridge/bridge-nf-call-iptables",
    "netfilter/nf_conntrack_count",
    "netfilter/nf_conntrack_max",
];

/// Switches of every device, under `ipv4/conf`; `all` is one of the devices.
const PER_DEVICE: [&str; 8] = [
    "rp_filter",
    "forwarding",
    "accept_local",
    "route_localnet",
    "arp_ignore",
    "arp_filter",
    "arp_announce",
    "proxy_arp",
];

/// Switches of every device, under `ipv6/conf`.
const PER_DEVICE_V6: [&str; 2] = ["forwarding", "disable_ipv6"];

/// Values of switches, by their names as `sysctl` writes them with `/` between
/// the parts (device names may contain dots).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctls(pub BTreeMap<String, String>);

impl Sysctls {
    /// The value of a switch as text: `ipv4/ip_forward`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a switch that is one number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// Reverse path filtering on a device: the kernel takes the larger of the
    /// device's own value and that of `all` (`IN_DEV_RPFILTER`).
    pub fn rp_filter(&self, device: &str) -> i64 {
        let of = |name: &str| self.number(&format!("ipv4/conf/{name}/rp_filter")).unwrap_or(0);
        of(device).max(of("all"))
    }

    /// Whether packets that come in by a device are sent on.
    pub fn forwards(&self, device: &str, v6: bool) -> bool {
        let family = if v6 { "ipv6" } else { "ipv4" };
        self.number(&format!("{family}/conf/{device}/forwarding")) == Some(1)
    }
}

/// Reads the switches of the calling thread's namespace. One that is not there
/// (bridge or connection tracking not in use) is left out.
pub(crate) fn read(devices: &[&str]) -> Sysctls {
    let mut found = BTreeMap::new();
    let mut take = |name: String| {
        if let Ok(value) = fs::read_to_string(Path::new(ROOT).join(&name)) {
            found.insert(name, value.trim().to_owned());
        }
    };
    for name in GLOBAL {
        take(name.to_owned());
    }
    for device in devices.iter().chain(&["all"]) {
        for name in PER_DEVICE {
            take(format!("ipv4/conf/{device}/{name}"));
        }
        for name in PER_DEVICE_V6 {
            take(format!("ipv6/conf/{device}/{name}"));
        }
    }
    Sysctls(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_reverse_path_filter_counts() {
        let set = |all: &str, eth0: &str| {
            Sysctls(BTreeMap::from([
                ("ipv4/conf/all/rp_filter".to_owned(), all.to_owned()),
                ("ipv4/conf/eth0/rp_filter".to_owned(), eth0.to_owned()),
            ]))
        };
        assert_eq!(set("0", "1").rp_filter("eth0"), 1);
        assert_eq!(set("2", "1").rp_filter("eth0"), 2);
        assert_eq!(set("0", "0").rp_filter("eth0"), 0);
    }
}
