//! Where traced packets pass: a client outside, a node that routes, and a pod on the
//! node's bridge.
//!
//! ```text
//! client                  node                          pod
//! eth0 10.79.1.2 ─── c0 10.79.1.1
//!                       br0 10.79.2.1 ─ p0 ─── eth0 10.79.2.2
//! ```
//! The node asks 21 rules of iptables in FORWARD and tracks connections.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use taproot_kube::netns;

use crate::bench::site;

/// Where the pod answers.
pub(super) const POD: &str = "10.79.2.2";
/// Where it listens.
pub(super) const PORT: u16 = 5400;
const CLIENT: &str = "10.79.1.2";
/// Fixed names, so that a start finds what a crash left.
const WHO: [&str; 3] = ["client", "node", "pod"];
/// Rules that no packet of the bench meets; one more lets what is tracked pass.
const RULES: u16 = 20;
/// Longest wait for an answer; the way is a few microseconds long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The namespaces; removed at the end.
pub(super) struct Bed;

impl Bed {
    /// Removes what a crash left, and makes them.
    pub(super) fn make() -> Result<Self> {
        for tool in ["ip", "iptables-restore", "sysctl"] {
            if !site::installed(tool) {
                bail!("`{tool}` is not installed: see scripts/setup.sh for its package");
            }
        }
        clean();
        // From here on a failure removes what there is.
        let bed = Self;
        for who in WHO {
            site::run(&["ip", "netns", "add", &name(who)])?;
            ip(who, "link set lo up")?;
        }
        cable("client", "c0", &format!("{CLIENT}/24"), "10.79.1.1")?;
        ip("node", "link add br0 type bridge")?;
        ip("node", "link set br0 up")?;
        cable("pod", "p0", &format!("{POD}/24"), "10.79.2.1")?;
        ip("node", "link set p0 master br0")?;
        ip("node", "address add 10.79.1.1/24 dev c0")?;
        ip("node", "address add 10.79.2.1/24 dev br0")?;
        exec("node", "sysctl -qw net.ipv4.ip_forward=1")?;
        rules()?;
        Ok(bed)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        clean();
    }
}

/// A socket that answers in the pod, and one that asks outside; the bed is there.
pub(super) fn sockets() -> Result<(UdpSocket, UdpSocket)> {
    let server = inside("pod", || UdpSocket::bind((POD, PORT)))?;
    let client = inside("client", || UdpSocket::bind((CLIENT, 0)))?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok((server, client))
}

fn clean() {
    for who in WHO {
        if path(who).exists()
            && let Err(error) = site::run(&["ip", "netns", "del", &name(who)])
        {
            tracing::warn!(%error, who, "a network namespace of the bench stays");
        }
    }
}

/// Lays a cable from somebody's `eth0` to the node.
fn cable(who: &str, port: &str, address: &str, router: &str) -> Result<()> {
    let (own, node) = (name(who), name("node"));
    let words = format!("ip link add {port} netns {node} type veth peer name eth0 netns {own}");
    site::run(&words.split(' ').collect::<Vec<_>>())?;
    ip("node", &format!("link set {port} up"))?;
    ip(who, &format!("address add {address} dev eth0"))?;
    ip(who, "link set eth0 up")?;
    ip(who, &format!("route add default via {router}"))
}

fn rules() -> Result<()> {
    let mut text = "*filter\n".to_owned();
    for port in 0..RULES {
        let _ = writeln!(text, "-A FORWARD -p tcp -m tcp --dport {} -j DROP", 9000 + port);
    }
    text.push_str("-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\nCOMMIT\n");
    let mut child = Command::new("ip")
        .args(["netns", "exec", &name("node"), "iptables-restore"])
        .stdin(Stdio::piped())
        .spawn()
        .context("running iptables-restore")?;
    child.stdin.take().context("a pipe")?.write_all(text.as_bytes())?;
    if !child.wait()?.success() {
        bail!("iptables-restore refuses the bench's rules");
    }
    Ok(())
}

fn name(who: &str) -> String {
    format!("taproot-bench-{who}")
}

fn path(who: &str) -> PathBuf {
    Path::new("/run/netns").join(name(who))
}

fn ip(who: &str, words: &str) -> Result<()> {
    let name = name(who);
    let mut all = vec!["ip", "-n", &name];
    all.extend(words.split(' '));
    site::run(&all)
}

fn exec(who: &str, words: &str) -> Result<()> {
    let name = name(who);
    let mut all = vec!["ip", "netns", "exec", &name];
    all.extend(words.split(' '));
    site::run(&all)
}

/// A socket that is made in somebody's namespace and stays there.
fn inside(who: &str, make: fn() -> std::io::Result<UdpSocket>) -> Result<UdpSocket> {
    let made = netns::inside(&path(who), make).and_then(|socket| socket);
    made.with_context(|| format!("a socket in {}", name(who)))
}
