//! Real translated connections in a network namespace of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its stage fails")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use taproot_kube::conntrack::{Conntrack, ConntrackError, Tuple};
use taproot_kube::{Options, Resolver};
use taproot_model::Transport;
use taproot_testkit::{need, need_commands, need_root};

/// A namespace in which 10.96.0.80:80 leads to 10.88.0.9:8080. It lives as long
/// as its process.
struct Namespace(Child);

const SETUP: &str = "ip link set lo up && ip addr add 10.88.0.9/32 dev lo && ip addr add 10.88.0.5/32 dev lo && \
    iptables -t nat -A OUTPUT -d 10.96.0.80 -p tcp --dport 80 -j DNAT --to-destination 10.88.0.9:8080 && \
    ip route add 10.96.0.0/16 dev lo && echo ready && exec sleep 60";

impl Namespace {
    /// `None` where the kernel cannot translate.
    fn make() -> Option<Self> {
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", SETUP])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = [0; 6];
        let ready = child.stdout.as_mut()?.read_exact(&mut said).is_ok();
        let namespace = Self(child);
        ready.then_some(namespace)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }

    /// Runs something inside, on a thread that ends with it.
    fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        use std::os::fd::AsFd;
        let namespace = fs::File::open(self.path()).unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        thread::scope(|scope| {
            let enter = || {
                rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                run()
            };
            scope.spawn(enter).join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_service_address_leads_to_the_backend_that_answered() {
    need_root!();
    need_commands!("unshare", "ip", "iptables");
    let namespace = Namespace::make();
    need!(namespace.is_some(), "the kernel has no address translation");
    let Some(namespace) = namespace else { return };
    let (client, server) = namespace.inside(|| {
        let listener = TcpListener::bind("10.88.0.9:8080").unwrap();
        let client = TcpStream::connect("10.96.0.80:80").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        (client, server)
    });
    let from = client.local_addr().unwrap();
    let tuple = Tuple { transport: Transport::Tcp, from, to: addr("10.96.0.80:80") };

    let options = Options {
        node_pid: namespace.0.id(),
        run_root: "/no/such/folder".into(),
        ..Options::default()
    };
    let resolver = Resolver::start(options);
    let entry = resolver.nat_lookup(None, &tuple).unwrap().expect("tracked");
    assert_eq!(entry.server(), addr("10.88.0.9:8080"));
    assert_eq!(entry.client(), server.peer_addr().unwrap());
    assert!(entry.is_translated());
    let inode = resolver.netns(namespace.0.id()).unwrap();
    assert_eq!(resolver.nat_lookup(Some(inode), &tuple).unwrap(), Some(entry));
    assert_eq!(resolver.nat_lookup(Some(1), &tuple).unwrap(), None, "no such namespace");
    let other = Tuple { from: addr("10.88.0.5:1"), ..tuple };
    assert_eq!(resolver.nat_lookup(None, &other).unwrap(), None);

    let all = Conntrack::open_in(&namespace.path()).unwrap().dump().unwrap();
    assert!(all.contains(&entry), "{all:?}");

    let start = Instant::now();
    for _ in 0..1000 {
        resolver.nat_lookup(None, &tuple).unwrap();
    }
    let each = start.elapsed() / 1000;
    println!("one lookup takes {each:?}");
    assert!(each < Duration::from_millis(2), "{each:?}");
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let path = PathBuf::from("/proc/self/ns/no-such-namespace");
    let error = Conntrack::open_in(&path).unwrap_err();
    assert!(matches!(error, ConntrackError::Namespace { .. }));
    assert!(error.to_string().contains("no-such-namespace"), "{error}");
}
