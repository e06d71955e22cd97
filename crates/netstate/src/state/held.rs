//! The sockets that processes hold.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::netlink::{absent, dump};
use crate::{Result, inside};

/// A TCP or UDP socket of a process, in the process's own network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Whether TCP; otherwise UDP.
    pub tcp: bool,
    /// Its own end; the address is unspecified where it takes any.
    pub local: SocketAddr,
    /// The other end; `None` where it waits for whoever comes.
    pub peer: Option<SocketAddr>,
}

/// The sockets of these processes. A process that is gone has none.
///
/// # Errors
/// When a namespace cannot be entered, or the kernel does not answer.
pub fn held_by(proc: &Path, pids: &[u32]) -> Result<Vec<Held>> {
    let mut networks: BTreeMap<u64, (PathBuf, HashSet<u32>)> = BTreeMap::new();
    for pid in pids {
        let network = proc.join(format!("{pid}/ns/net"));
        let Ok(meta) = std::fs::metadata(&network) else { continue };
        let known = networks.entry(meta.ino()).or_insert((network, HashSet::new()));
        known.1.extend(inodes(proc, *pid));
    }
    let mut found = Vec::new();
    for (network, wanted) in networks.values() {
        found.extend(inside(network, || all(wanted))??);
    }
    Ok(found)
}

/// Inodes of a process's sockets.
fn inodes(proc: &Path, pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(proc.join(format!("{pid}/fd")));
    let inode =
        |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let links = entries.into_iter().flatten().flatten();
    links.filter_map(|entry| inode(std::fs::read_link(entry.path()).ok()?)).collect()
}

/// Those of the calling thread's namespace that are among `wanted`.
fn all(wanted: &HashSet<u32>) -> Result<Vec<Held>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            let question = SockDiagMessage::InetRequest(InetRequest {
                family,
                protocol,
                extensions: ExtensionFlags::empty(),
                states: StateFlags::all(),
                socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
            });
            match dump(NETLINK_SOCK_DIAG, "sockets", question) {
                Ok(answers) => {
                    let tcp = protocol == IPPROTO_TCP;
                    found.extend(answers.iter().filter_map(|a| held(a, tcp, wanted)));
                }
                Err(error) if absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

fn held(message: &SockDiagMessage, tcp: bool, wanted: &HashSet<u32>) -> Option<Held> {
    let SockDiagMessage::InetResponse(response) = message else { return None };
    let header = &response.header;
    if !wanted.contains(&header.inode) || header.socket_id.source_port == 0 {
        return None;
    }
    let id = &header.socket_id;
    let end = |ip: std::net::IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    Some(Held {
        tcp,
        local: end(id.source_address, id.source_port),
        peer: (id.destination_port != 0).then(|| end(id.destination_address, id.destination_port)),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn this_process_holds_what_it_made() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let stream = TcpStream::connect(at).unwrap();
        let found = held_by(Path::new("/proc"), &[std::process::id()]);
        let found = match found {
            Ok(found) => found,
            // Entering a namespace, even one's own, takes a privilege.
            Err(why) => taproot_testkit::skip!("{why}"),
        };
        assert!(found.contains(&Held { tcp: true, local: at, peer: None }), "{found:?}");
        let local = stream.local_addr().unwrap();
        assert!(found.contains(&Held { tcp: true, local, peer: Some(at) }), "{found:?}");
        assert_eq!(held_by(Path::new("/proc"), &[u32::MAX]).unwrap(), []);
    }
}
