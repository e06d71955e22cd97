//! Two nodes with a pod on each, and a second pod on the first.
//!
//! ```text
//! pod1 10.80.1.2 ─ p1 ┐                                      ┌ q1 ─ pod3 10.80.2.2
//!                     br0 10.80.1.1  near ── far  br0 10.80.2.1
//! pod2 10.80.1.3 ─ p2 ┘      10.80.0.1   10.80.0.2
//! ```

#![allow(dead_code, reason = "each test binary uses its own share")]

pub(crate) mod way;

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Who is there, by short names.
pub(crate) const WHO: [&str; 5] = ["near", "far", "pod1", "pod2", "pod3"];

/// Who is connected with whom, and by which devices.
const CABLES: [(&str, &str, &str, &str); 4] = [
    ("near", "up0", "far", "up0"),
    ("near", "p1", "pod1", "eth0"),
    ("near", "p2", "pod2", "eth0"),
    ("far", "q1", "pod3", "eth0"),
];

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
        let bed = Self { run: std::process::id() };
        // Few processes, each with many lines: an emulated CPU is long at starting one.
        let made = WHO.map(|who| format!("netns add {}\n", bed.name(who)));
        batch(&[], &made.concat())?;
        for who in WHO {
            bed.set(who, "ipv6/conf/all/disable_ipv6", "1")?;
        }
        let cable = |(who, device, other, peer): (&str, &str, &str, &str)| {
            let (here, there) = (bed.name(who), bed.name(other));
            format!("link add {device} netns {here} type veth peer name {peer} netns {there}\n")
        };
        batch(&[], &CABLES.map(cable).concat())?;
        for (node, own, other, net, beyond) in [("near", 1, 2, 1, 2), ("far", 2, 1, 2, 1)] {
            let ports = if node == "near" { &["p1", "p2"][..] } else { &["q1"] };
            let ports = ports.iter().map(|port| format!("link set {port} up master br0\n"));
            let lines = format!(
                "link set lo up\nlink set up0 up\naddr add 10.80.0.{own}/24 dev up0\n\
                 link add br0 type bridge\nlink set br0 up\naddr add 10.80.{net}.1/24 dev br0\n\
                 route add 10.80.{beyond}.0/24 via 10.80.0.{other}\n"
            );
            batch(&["-n", &bed.name(node)], &(lines + &ports.collect::<String>()))?;
            bed.set(node, "ipv4/ip_forward", "1")?;
            // Where the module is not loaded there is nothing to be switched off.
            let _ = bed.set(node, "bridge/bridge-nf-call-iptables", "0");
        }
        for (pod, net, host) in [("pod1", 1, 2), ("pod2", 1, 3), ("pod3", 2, 2)] {
            let lines = format!(
                "link set lo up\nlink set eth0 up\naddr add 10.80.{net}.{host}/24 dev eth0\n\
                 route add default via 10.80.{net}.1\n"
            );
            batch(&["-n", &bed.name(pod)], &lines)?;
        }
        bed.greet()?;
        Ok(bed)
    }

    /// Writes a switch below `/proc/sys/net` of somebody's namespace.
    fn set(&self, who: &str, switch: &str, value: &str) -> Result<(), String> {
        let file = Path::new("/proc/sys/net").join(switch);
        self.within(who, || std::fs::write(&file, value)).map_err(|e| format!("{switch}: {e}"))
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
        let gone = WHO.map(|who| format!("netns del {}\n", self.name(who)));
        if let Err(why) = batch(&["-force"], &gone.concat()) {
            eprintln!("{why}");
        }
    }
}

/// Runs lines of `ip`, all in one process.
fn batch(options: &[&str], lines: &str) -> Result<(), String> {
    let mut ip = Command::new("ip");
    ip.args(options).args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut ip = ip.spawn().map_err(|e| format!("ip: {e}"))?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin.write_all(lines.as_bytes()).map_err(|e| format!("ip: {e}"))?;
    }
    let output = ip.wait_with_output().map_err(|e| format!("ip: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{lines}{}", said.trim()))
}

fn shell(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{command}: {}", said.trim()))
}
