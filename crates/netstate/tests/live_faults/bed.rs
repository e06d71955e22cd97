//! The bed: a client, a node and two pods in namespaces of their own.
//!
//! ```text
//! client                node                              pods
//! eth0 10.1.0.2 ─── c0 10.1.0.1   br0 10.2.0.1 ─┬─ p1 ─── eth0 10.2.0.2
//!                                               └─ p2 ─── eth0 10.2.0.3
//! ```

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};
use taproot_netstate::{NetState, inside};

/// How long a connection is tried.
const PATIENCE: Duration = Duration::from_millis(300);

/// Who is in the bed, by short names.
pub(crate) const WHO: [&str; 4] = ["client", "node", "pod1", "pod2"];

/// Who is connected with the node: by which port there, with what address and router.
const CABLES: [(&str, &str, &str, &str); 3] = [
    ("client", "c0", "10.1.0.2/24", "10.1.0.1"),
    ("pod1", "p1", "10.2.0.2/24", "10.2.0.1"),
    ("pod2", "p2", "10.2.0.3/24", "10.2.0.1"),
];

/// What would drop packets or send some of its own.
const QUIET: [(&str, &str); 4] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// The namespaces; removed at the end.
pub(crate) struct Bed {
    run: u32,
}

/// Waits until no other test of this kind runs on the machine: they share the
/// kernel's trace events and the names of their namespaces.
pub(crate) fn alone() -> File {
    let path = std::env::temp_dir().join("taproot-netstate-test.lock");
    let file = File::create(path).expect("the temporary folder is writable");
    file.lock().expect("locked");
    file
}

impl Bed {
    /// Makes the bed with everything working.
    pub(crate) fn make() -> Self {
        let bed = Self { run: std::process::id() };
        // Few processes, each with many lines: an emulated CPU is long at starting one.
        let made = WHO.map(|who| format!("netns add {}\n", bed.name(who)));
        batch(&[], &made.concat());
        for who in WHO {
            for (switch, value) in QUIET {
                bed.set(who, switch, value);
            }
        }
        let node = bed.name("node");
        let cable = |(who, port, ..): (&str, &str, &str, &str)| {
            let own = bed.name(who);
            format!("link add {port} netns {node} type veth peer name eth0 netns {own}\n")
        };
        batch(&[], &CABLES.map(cable).concat());
        let ports = CABLES.map(|(_, port, ..)| format!("link set {port} up\n")).concat();
        let lines = "link set lo up\nlink add br0 type bridge\nlink set br0 up\n\
                     addr add 10.1.0.1/24 dev c0\naddr add 10.2.0.1/24 dev br0\n\
                     link set p1 master br0\nlink set p2 master br0\n";
        batch(&["-n", &node], &(ports + lines));
        for (who, _, address, router) in CABLES {
            let lines = format!(
                "link set lo up\nlink set eth0 up\naddr add {address} dev eth0\n\
                 route add default via {router}\n"
            );
            batch(&["-n", &bed.name(who)], &lines);
        }
        bed.set("node", "ipv4/ip_forward", "1");
        bed.set("node", "ipv4/neigh/br0/retrans_time_ms", "50");
        if Path::new("/proc/sys/net/bridge").exists() {
            bed.set("node", "bridge/bridge-nf-call-iptables", "0");
        }
        // The client and the node know each other's link addresses.
        bed.send("client", "10.1.0.2:0", "10.1.0.1:9", 1, 1);
        bed
    }

    /// Writes a switch below `/proc/sys/net` of somebody's namespace.
    fn set(&self, who: &str, switch: &str, value: &str) {
        let file = Path::new("/proc/sys/net").join(switch);
        self.within(who, || std::fs::write(&file, value)).expect(switch);
    }

    fn name(&self, who: &str) -> String {
        format!("tpn{}-{who}", self.run)
    }

    /// The file that stands for somebody's namespace.
    pub(crate) fn path(&self, who: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(who))
    }

    /// Runs shell commands in somebody's namespace.
    pub(crate) fn run(&self, who: &str, commands: &str) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name(who), "sh", "-ec", commands])
            .output()
            .expect("ip runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who}: {commands}: {said}");
    }

    /// Somebody's state.
    pub(crate) fn state(&self, who: &str) -> NetState {
        NetState::read(&self.path(who)).expect("the state is read")
    }

    /// Does something in somebody's namespace.
    pub(crate) fn within<T: Send>(&self, who: &str, task: impl FnOnce() -> T + Send) -> T {
        inside(&self.path(who), task).expect("the namespace is entered")
    }

    /// A TCP listener in somebody's namespace.
    pub(crate) fn listen(&self, who: &str, at: &str) -> TcpListener {
        self.within(who, || TcpListener::bind(at).expect("bound"))
    }

    /// A UDP socket in somebody's namespace.
    pub(crate) fn udp(&self, who: &str, at: &str) -> UdpSocket {
        self.within(who, || UdpSocket::bind(at).expect("bound"))
    }

    /// Tries a TCP connection.
    pub(crate) fn connect(&self, who: &str, to: &str) -> Option<TcpStream> {
        let to: SocketAddr = to.parse().expect("an address");
        self.within(who, || TcpStream::connect_timeout(&to, PATIENCE).ok())
    }

    /// Sends UDP packets from a local address; what cannot be sent is lost.
    pub(crate) fn send(&self, who: &str, from: &str, to: &str, size: usize, count: usize) {
        self.within(who, || {
            let socket = UdpSocket::bind(from).expect("bound");
            for _ in 0..count {
                // A fault may refuse the packet at once: that is the point.
                let _ = socket.send_to(&vec![b'x'; size], to);
            }
        });
    }

    /// Sends a UDP packet from port 40000 whose checksum is wrong.
    pub(crate) fn damaged_datagram(&self, who: &str, to: &str) {
        let to: SocketAddr = to.parse().expect("an address");
        let mut datagram = Vec::new();
        for word in [40_000, to.port(), 12, 0x1234] {
            datagram.extend(u16::to_be_bytes(word));
        }
        datagram.extend(b"abcd");
        self.within(who, || {
            let (family, udp) = (AddressFamily::INET, Some(ipproto::UDP));
            let raw = rustix::net::socket(family, SocketType::RAW, udp).expect("root may");
            let to = SocketAddr::new(to.ip(), 0);
            rustix::net::sendto(&raw, &datagram, SendFlags::empty(), &to).expect("sent");
        });
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        batch(&["-force"], &WHO.map(|who| format!("netns del {}\n", self.name(who))).concat());
    }
}

/// Runs lines of `ip`, all in one process.
fn batch(options: &[&str], lines: &str) {
    let mut ip = Command::new("ip");
    ip.args(options).args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut ip = ip.spawn().expect("ip runs");
    let mut stdin = ip.stdin.take().expect("it was asked for");
    stdin.write_all(lines.as_bytes()).expect("ip reads");
    drop(stdin);
    let output = ip.wait_with_output().expect("ip ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}{said}");
}
