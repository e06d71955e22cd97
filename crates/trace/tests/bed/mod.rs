//! Two nodes with a pod on each, and a second pod on the first.
//!
//! ```text
//! pod1 10.80.1.2 ─ p1 ┐                                      ┌ q1 ─ pod3 10.80.2.2
//!                     br0 10.80.1.1  near ── far  br0 10.80.2.1
//! pod2 10.80.1.3 ─ p2 ┘      10.80.0.1   10.80.0.2
//! ```

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Who is there, by short names.
pub(crate) const WHO: [&str; 5] = ["near", "far", "pod1", "pod2", "pod3"];

/// Addresses of the pods, of a service that leads to `pod3`, of the nodes.
pub(crate) const POD1: &str = "10.80.1.2";
pub(crate) const POD2: &str = "10.80.1.3";
pub(crate) const POD3: &str = "10.80.2.2";
pub(crate) const SERVICE: &str = "10.96.0.80";
pub(crate) const NEAR: &str = "10.80.0.1";

/// The namespaces; removed at the end.
pub(crate) struct Bed {
    run: u32,
}

/// Waits until no other test of this kind runs: their beds have the same addresses.
pub(crate) fn alone() -> File {
    let path = std::env::temp_dir().join("taproot-continuity-test.lock");
    let file = File::create(path).expect("the temporary folder is writable");
    file.lock().expect("locked");
    file
}

impl Bed {
    /// Makes them with everything working. Says why not.
    pub(crate) fn new() -> Result<Self, String> {
        if taproot_testkit::guest_kernel().is_some() {
            return Err("on an emulated CPU these ten take more than eight minutes".to_owned());
        }
        let bed = Self { run: std::process::id() };
        for who in WHO {
            shell(&format!("ip netns add {}", bed.name(who)))?;
            bed.run(who, "ip link set lo up; sysctl -qw net.ipv6.conf.all.disable_ipv6=1")?;
        }
        bed.cable("near", "up0", "far", "up0")?;
        for (node, own, other, net, beyond) in [("near", 1, 2, 1, 2), ("far", 2, 1, 2, 1)] {
            bed.run(node, &format!("ip addr add 10.80.0.{own}/24 dev up0"))?;
            bed.run(node, "ip link add br0 type bridge; ip link set br0 up")?;
            bed.run(node, &format!("ip addr add 10.80.{net}.1/24 dev br0"))?;
            bed.run(node, &format!("ip route add 10.80.{beyond}.0/24 via 10.80.0.{other}"))?;
            bed.run(node, "sysctl -qw net.ipv4.ip_forward=1")?;
            // Where the module is not loaded there is nothing to be switched off.
            let _ = bed.run(node, "sysctl -qw net.bridge.bridge-nf-call-iptables=0");
        }
        for (node, port, pod, net, host) in [
            ("near", "p1", "pod1", 1, 2),
            ("near", "p2", "pod2", 1, 3),
            ("far", "q1", "pod3", 2, 2),
        ] {
            bed.cable(node, port, pod, "eth0")?;
            bed.run(node, &format!("ip link set {port} master br0"))?;
            bed.run(pod, &format!("ip addr add 10.80.{net}.{host}/24 dev eth0"))?;
            bed.run(pod, &format!("ip route add default via 10.80.{net}.1"))?;
        }
        bed.greet()?;
        Ok(bed)
    }

    fn cable(&self, who: &str, device: &str, other: &str, peer: &str) -> Result<(), String> {
        let (here, there) = (self.name(who), self.name(other));
        shell(&format!(
            "ip link add {device} netns {here} type veth peer name {peer} netns {there}"
        ))?;
        self.run(who, &format!("ip link set {device} up"))?;
        self.run(other, &format!("ip link set {peer} up"))
    }

    /// Everybody learns the link addresses that packets will need.
    fn greet(&self) -> Result<(), String> {
        for (from, to) in [("pod1", POD3), ("pod3", POD2), ("pod2", POD1)] {
            let socket = self.udp(from, "0.0.0.0:0");
            let to: SocketAddr = format!("{to}:9").parse().map_err(|e| format!("{e}"))?;
            for _ in 0..2 {
                // Port 9 refuses: the answer is part of the greeting.
                let _ = socket.send_to(b"hello", to);
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        Ok(())
    }

    fn name(&self, who: &str) -> String {
        format!("taproot-way-{}-{who}", self.run)
    }

    fn path(&self, who: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(who))
    }

    /// The inode of somebody's namespace.
    pub(crate) fn inode(&self, who: &str) -> u32 {
        std::fs::metadata(self.path(who)).expect("it is there").ino() as u32
    }

    /// Runs shell commands in somebody's namespace.
    pub(crate) fn run(&self, who: &str, commands: &str) -> Result<(), String> {
        shell(&format!("ip netns exec {} sh -ec '{commands}'", self.name(who)))
    }

    /// Does something in somebody's namespace; sockets made there stay there.
    pub(crate) fn within<T: Send>(&self, who: &str, task: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path(who)).expect("the namespace is there");
        let enter = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter");
            task()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).expect("the thread ended well")
    }

    /// A UDP socket in somebody's namespace.
    pub(crate) fn udp(&self, who: &str, at: &str) -> UdpSocket {
        let socket = self.within(who, || UdpSocket::bind(at)).expect("the port is free");
        // A server waits while a tracer is loaded, which an emulated CPU is long at.
        socket.set_read_timeout(Some(Duration::from_mins(1))).expect("settable");
        socket
    }

    /// A TCP listener in somebody's namespace.
    pub(crate) fn listen(&self, who: &str, at: &str) -> TcpListener {
        self.within(who, || TcpListener::bind(at)).expect("the port is free")
    }

    /// A TCP connection from somebody's namespace.
    pub(crate) fn connect(&self, who: &str, to: &str) -> TcpStream {
        let to: SocketAddr = to.parse().expect("an address");
        let patience = Duration::from_secs(10);
        self.within(who, || TcpStream::connect_timeout(&to, patience)).expect("it listens")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for who in WHO {
            if let Err(why) = shell(&format!("ip netns del {}", self.name(who))) {
                eprintln!("{why}");
            }
        }
    }
}

fn shell(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{command}: {}", said.trim()))
}
