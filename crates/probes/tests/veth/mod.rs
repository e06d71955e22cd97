//! Two network namespaces of our own with a cable between them.

#![allow(dead_code, reason = "each test binary uses its own share")]

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Address of the first namespace.
pub(crate) const A: &str = "10.77.0.1";
/// Address of the second namespace.
pub(crate) const B: &str = "10.77.0.2";
/// Address of the bridge between them.
pub(crate) const MIDDLE: &str = "10.77.0.9";
/// IPv6 addresses of the two.
pub(crate) const A6: &str = "fd77::1";
pub(crate) const B6: &str = "fd77::2";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace, removed when dropped.
pub(crate) struct Netns {
    name: String,
    pub(crate) inode: u32,
}

/// Two namespaces and the cable; neighbours are known, so that nothing but the
/// test's own packets passes.
pub(crate) struct Pair {
    pub(crate) a: Netns,
    pub(crate) b: Netns,
}

/// Two namespaces on a bridge that a third one holds.
pub(crate) struct Bridged {
    pub(crate) a: Netns,
    pub(crate) b: Netns,
    pub(crate) middle: Netns,
}

/// Packets that a device received and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DevicePackets {
    pub(crate) rx: u64,
    pub(crate) tx: u64,
}

impl Pair {
    /// Builds them. Says why not.
    pub(crate) fn new() -> Result<Self, String> {
        let a = Netns::new("a")?;
        let b = Netns::new("b")?;
        let (mac_a, mac_b) = ("02:00:00:77:00:01", "02:00:00:77:00:02");
        ip(&format!(
            "link add cable netns {} address {mac_a} type veth peer name cable netns {} address {mac_b}",
            a.name, b.name
        ))?;
        a.configure([A, A6], [B, B6], mac_b)?;
        b.configure([B, B6], [A, A6], mac_a)?;
        Ok(Self { a, b })
    }

    /// TCP and UDP packets that passed the two ends so far: what the devices counted
    /// without the multicast reports that IPv6 sends by itself.
    pub(crate) fn packets(&self) -> (DevicePackets, DevicePackets) {
        let (icmp_a, icmp_b) = (self.a.icmp6_sent(), self.b.icmp6_sent());
        let (a, b) = (self.a.packets(), self.b.packets());
        (
            DevicePackets { rx: a.rx - icmp_b, tx: a.tx - icmp_a },
            DevicePackets { rx: b.rx - icmp_a, tx: b.tx - icmp_b },
        )
    }

    /// Inodes of both.
    pub(crate) fn inodes(&self) -> Vec<u32> {
        vec![self.a.inode, self.b.inode]
    }
}

impl Bridged {
    /// Builds them. Says why not.
    pub(crate) fn new() -> Result<Self, String> {
        let (a, b, middle) = (Netns::new("a")?, Netns::new("b")?, Netns::new("m")?);
        middle.ip("link add cable type bridge")?;
        for (end, port, addresses) in [(&a, "port-a", [A, A6]), (&b, "port-b", [B, B6])] {
            ip(&format!(
                "link add cable netns {} type veth peer name {port} netns {}",
                end.name, middle.name
            ))?;
            middle.ip(&format!("link set {port} master cable up"))?;
            end.configure(addresses, [], "")?;
        }
        middle.configure([MIDDLE, "fd77::9"], [], "")?;
        Ok(Self { a, b, middle })
    }

    /// Inodes of all three.
    pub(crate) fn inodes(&self) -> Vec<u32> {
        vec![self.a.inode, self.b.inode, self.middle.inode]
    }
}

impl Netns {
    fn new(suffix: &str) -> Result<Self, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("taproot-test-{}-{number}{suffix}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let mut netns = Self { name, inode: 0 };
        let inode = std::fs::metadata(netns.path()).map_err(|e| e.to_string())?.ino();
        netns.inode = inode as u32;
        Ok(netns)
    }

    fn configure<const N: usize>(
        &self,
        own: [&str; 2],
        other: [&str; N],
        mac: &str,
    ) -> Result<(), String> {
        // No router solicitations: only what a test sends may pass.
        self.run("sysctl -q -w net.ipv6.conf.cable.router_solicitations=0")?;
        self.run("sysctl -q -w net.ipv6.conf.cable.addr_gen_mode=1")?;
        for (address, bits, extra) in [(own[0], 24, ""), (own[1], 64, "nodad")] {
            self.ip(&format!("address add {address}/{bits} dev cable {extra}"))?;
        }
        self.ip("link set cable up")?;
        self.ip("link set lo up")?;
        for address in other {
            self.ip(&format!("neighbour replace {address} lladdr {mac} dev cable nud permanent"))?;
        }
        Ok(())
    }

    fn ip(&self, arguments: &str) -> Result<(), String> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Where the namespace is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// The words that run a command inside.
    pub(crate) fn command(&self, command: &str) -> String {
        format!("ip netns exec {} {command}", self.name)
    }

    /// Runs a command inside and returns what it printed.
    pub(crate) fn run(&self, command: &str) -> Result<String, String> {
        run(&self.command(command))
    }

    /// Calls a function on a thread inside; sockets it makes stay inside.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path()).expect("the namespace is there");
        let enter = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter");
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).expect("the thread ended well")
    }

    fn icmp6_sent(&self) -> u64 {
        let text = self.inside(|| std::fs::read_to_string("/proc/thread-self/net/snmp6"));
        let text = text.expect("readable");
        let line = text.lines().find(|l| l.starts_with("Icmp6OutMsgs")).expect("it is there");
        line.split_whitespace().nth(1).and_then(|v| v.parse().ok()).expect("a number")
    }

    /// What passed the cable's end so far.
    fn packets(&self) -> DevicePackets {
        let text = self.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev"));
        let text = text.expect("readable");
        let line =
            text.lines().find(|l| l.trim_start().starts_with("cable:")).expect("it is there");
        let field = |at: usize| line.split_whitespace().nth(at).and_then(|v| v.parse().ok());
        DevicePackets { rx: field(2).expect("a number"), tx: field(10).expect("a number") }
    }

    /// One value of `/proc/net/snmp` or `/proc/net/netstat`, by its group and name.
    pub(crate) fn counter(&self, group: &str, name: &str) -> u64 {
        let file = if group == "TcpExt:" { "netstat" } else { "snmp" };
        let path = format!("/proc/thread-self/net/{file}");
        let text = self.inside(|| std::fs::read_to_string(path)).expect("readable");
        let mut lines = text.lines().filter(|l| l.starts_with(group));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let at = names.split_whitespace().position(|n| n == name).expect("known name");
        values.split_whitespace().nth(at).and_then(|v| v.parse().ok()).expect("a number")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(why) = ip(&format!("netns delete {}", self.name)) {
            eprintln!("{why}");
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    run(&format!("ip {arguments}")).map(drop)
}

fn run(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or("no command")?;
    let path = taproot_testkit::command_path(program).ok_or(format!("{program} is missing"))?;
    let done = Command::new(path).args(words).output().map_err(|e| e.to_string())?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{command}: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }
}
