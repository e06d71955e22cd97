//! A client and a server in namespaces of their own, with a router between them.
//!
//! ```text
//! client                 node                  server
//! eth0 10.78.1.2 ─── c0 10.78.1.1
//!                       s0 10.78.2.1 ─── eth0 10.78.2.2
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where the server listens.
pub(crate) const SERVER: &str = "10.78.2.2";
/// The ports that it listens at.
pub(crate) const PORTS: [u16; 2] = [80, 81];

const WHO: [&str; 3] = ["client", "node", "server"];

/// The namespaces; removed at the end.
pub(crate) struct Routed {
    run: u32,
}

impl Routed {
    /// Makes them with everything working. Says why not.
    pub(crate) fn new() -> Result<Self, String> {
        let bed = Self { run: std::process::id() };
        for who in WHO {
            shell(&format!("ip netns add {}", bed.name(who)))?;
            bed.run(who, "ip link set lo up")?;
        }
        for (who, port, net) in [("client", "c0", 1), ("server", "s0", 2)] {
            let (own, node) = (bed.name(who), bed.name("node"));
            shell(&format!(
                "ip link add {port} netns {node} type veth peer name eth0 netns {own}"
            ))?;
            bed.run("node", &format!("ip addr add 10.78.{net}.1/24 dev {port}"))?;
            bed.run("node", &format!("ip link set {port} up"))?;
            bed.run(who, &format!("ip addr add 10.78.{net}.2/24 dev eth0"))?;
            bed.run(who, "ip link set eth0 up")?;
            bed.run(who, &format!("ip route add default via 10.78.{net}.1"))?;
        }
        bed.run("node", "sysctl -qw net.ipv4.ip_forward=1")?;
        Ok(bed)
    }

    /// Somebody's namespace, as `ip netns` knows it.
    pub(crate) fn name(&self, who: &str) -> String {
        format!("taproot-trace-{}-{who}", self.run)
    }

    /// The inode of somebody's namespace.
    pub(crate) fn inode(&self, who: &str) -> u64 {
        std::fs::metadata(self.path(who)).unwrap().ino()
    }

    /// Runs a command in somebody's namespace.
    pub(crate) fn run(&self, who: &str, command: &str) -> Result<(), String> {
        shell(&format!("ip netns exec {} {command}", self.name(who)))
    }

    /// Runs a trace while the client connects to both ports over and over.
    pub(crate) fn traced(&self, trace: &mut Command) -> Output {
        let to = PORTS.map(|port| format!("{SERVER}:{port}"));
        self.traced_at(trace, &[&to[0], &to[1]])
    }

    /// The same, to these ends.
    pub(crate) fn traced_at(&self, trace: &mut Command, ends: &[&str]) -> Output {
        let listen = |port| self.inside("server", move || TcpListener::bind((SERVER, port)));
        let listeners = PORTS.map(|port| listen(port).unwrap());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let over = &over;
            for listener in &listeners {
                listener.set_nonblocking(true).unwrap();
                scope.spawn(move || accept(listener, over));
            }
            for end in ends {
                let to: SocketAddr = end.parse().unwrap();
                scope.spawn(move || self.inside("client", || connect(to, over)));
            }
            let output = trace.output();
            over.store(true, Ordering::Relaxed);
            output.unwrap()
        })
    }

    /// Does something in somebody's namespace; sockets made there stay there.
    fn inside<T: Send>(&self, who: &str, task: impl FnOnce() -> T + Send) -> T {
        let file = File::open(self.path(who)).unwrap();
        let enter = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            task()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap()
    }

    fn path(&self, who: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(who))
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        for who in WHO {
            if let Err(why) = shell(&format!("ip netns del {}", self.name(who))) {
                eprintln!("{why}");
            }
        }
    }
}

/// Connects again and again; what does not come about is given up after a SYN was
/// sent again.
fn connect(to: SocketAddr, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        // One of the two ports may be meant to fail.
        let _ = TcpStream::connect_timeout(&to, Duration::from_millis(1500));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn accept(listener: &TcpListener, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        // Whoever connected is let go at once.
        if listener.accept().is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn shell(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{command}: {}", said.trim()))
}
