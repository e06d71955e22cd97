//! What the other live tests take for granted of a machine or guest. When the
//! ground is missing, this says so in one line instead of ten tests failing
//! further up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use taproot_testkit::{need, need_commands, need_root, skip};

/// Two namespaces of our own, joined by a veth pair; removed when dropped.
struct Pair {
    left: String,
    right: String,
}

impl Pair {
    fn new(name: &str) -> Self {
        let unique = format!("taproot-{name}-{}", std::process::id());
        let pair = Self { left: format!("{unique}-l"), right: format!("{unique}-r") };
        run(&["ip", "netns", "add", &pair.left]).expect("a namespace");
        run(&["ip", "netns", "add", &pair.right]).expect("a namespace");
        let veth = ["link", "add", "left", "type", "veth", "peer", "name", "right", "netns"];
        pair.ip_left(&[&veth[..], &[&pair.right]].concat());
        pair.ip_left(&["link", "set", "left", "up"]);
        run(&["ip", "-n", &pair.right, "link", "set", "right", "up"]).expect("right end up");
        pair
    }

    fn ip_left(&self, args: &[&str]) -> String {
        run(&[&["ip", "-n", &self.left], args].concat()).expect("left namespace")
    }

    /// A command inside the left namespace.
    fn exec(&self, command: &[&str]) -> Result<String, String> {
        run(&[&["ip", "netns", "exec", &self.left], command].concat())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.left, &self.right] {
            if let Err(error) = run(&["ip", "netns", "del", name]) {
                eprintln!("namespace {name} is left: {error}");
            }
        }
    }
}

/// Standard output of a command, or what it complained about.
fn run(command: &[&str]) -> Result<String, String> {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.map_err(|error| format!("{}: {error}", command[0]))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

#[test]
fn namespaces_are_joined_by_a_link() {
    need_root!();
    need_commands!("ip");
    let pair = Pair::new("link");
    let link = pair.ip_left(&["-o", "link", "show", "left"]);
    assert!(link.contains("LOWER_UP"), "the veth pair has no carrier: {link}");
}

#[test]
fn a_service_address_is_translated() {
    need_root!();
    need_commands!("ip", "iptables");
    let pair = Pair::new("dnat");
    let rule =
        "-t nat -A OUTPUT -d 10.96.0.1 -p tcp --dport 80 -j DNAT --to-destination 10.9.0.1:80";
    let words: Vec<&str> = std::iter::once("iptables").chain(rule.split(' ')).collect();
    if let Err(why) = pair.exec(&words) {
        skip!("no address translation: {why}");
    }
    let rules = pair.exec(&["iptables", "-t", "nat", "-S", "OUTPUT"]).expect("rules can be listed");
    assert!(rules.contains("--to-destination 10.9.0.1:80"), "{rules}");
}

#[test]
fn netem_delays_a_link() {
    need_root!();
    need_commands!("ip", "tc");
    let pair = Pair::new("netem");
    let added = pair.exec(&["tc", "qdisc", "add", "dev", "left", "root", "netem", "delay", "5ms"]);
    if let Err(why) = added {
        skip!("no netem: {why}");
    }
    let qdisc = pair.exec(&["tc", "qdisc", "show", "dev", "left"]).expect("qdiscs can be listed");
    assert!(qdisc.contains("delay 5ms"), "{qdisc}");
}

#[test]
fn a_cgroup_takes_a_cpu_limit() {
    need_root!();
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    need!(controllers.contains("cpu"), "cgroup v2 is not at /sys/fs/cgroup with a cpu controller");
    let group =
        Group(PathBuf::from(format!("/sys/fs/cgroup/taproot-ground-{}", std::process::id())));
    fs::create_dir(&group.0).expect("a cgroup of our own");
    fs::write(group.0.join("cpu.max"), "10000 100000").expect("the limit is taken");
    assert_eq!(read(&group.0.join("cpu.max")), "10000 100000");
}

struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("cgroup {} is left: {error}", self.0.display());
        }
    }
}

#[test]
fn the_kernel_describes_its_types() {
    let btf = fs::read("/sys/kernel/btf/vmlinux");
    let Ok(btf) = btf else { skip!("no BTF: {}", btf.unwrap_err()) };
    assert_eq!(btf[..2], [0x9f, 0xeb], "magic number of BTF");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("readable").trim().to_owned()
}
