//! Who listens on the node's own addresses: units and plain processes, and pods
//! in the node's network. They share addresses, so that only the port tells.

mod diag;

use crate::process;
use diag::Diag;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// `TCP_LISTEN`; and for UDP a socket without a peer, which has state 7.
const TABLES: [(&str, &str); 4] = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];

/// Sockets that listen in one network namespace, looked at again and again.
pub(crate) struct Listeners {
    diag: Option<Diag>,
}

impl Listeners {
    /// The namespace of a process.
    pub(crate) fn of(proc_root: &Path, pid: u32) -> Self {
        let diag = Diag::open_in(&proc_root.join(format!("{pid}/ns/net")));
        let diag = diag.inspect_err(|error| tracing::debug!(%error, "sock_diag; /proc is read"));
        Self { diag: diag.ok() }
    }

    /// Inode of the socket to port. The kernel is asked for these alone; `/proc` has them
    /// too, but goes through its whole table of connections for that, for 5 ms each time.
    pub(crate) fn sockets(&mut self, proc_root: &Path, pid: u32) -> BTreeMap<u64, u16> {
        if let Some(diag) = &mut self.diag {
            match diag.listening() {
                Ok(found) => return found,
                Err(error) => tracing::debug!(%error, "sock_diag; /proc is read from now on"),
            }
        }
        self.diag = None;
        sockets(proc_root, pid)
    }
}

/// What `/proc` tells of the sockets that listen where a process is.
fn sockets(proc_root: &Path, pid: u32) -> BTreeMap<u64, u16> {
    let net = proc_root.join(format!("{pid}/net"));
    let mut found = BTreeMap::new();
    for (table, state) in TABLES {
        let text = fs::read_to_string(net.join(table)).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| listening(line, state)));
    }
    found
}

/// Reads a line of `/proc/net/tcp` (proc(5)): `slot local remote state ... inode`,
/// addresses as `address:port` in hexadecimal.
fn listening(line: &str, wanted: &str) -> Option<(u64, u16)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
    if state != wanted {
        return None;
    }
    let (_, port) = local.rsplit_once(':')?;
    Some((inode.parse().ok()?, u16::from_str_radix(port, 16).ok()?))
}

/// The processes that hold these sockets: port to pid. Of several (a server and
/// the workers it forked) the one with the lowest pid, which on most machines is
/// the eldest.
pub(crate) fn holders(proc_root: &Path, sockets: &BTreeMap<u64, u16>) -> HashMap<u16, u32> {
    let mut missing = sockets.clone();
    let mut found = HashMap::new();
    for pid in process::all(proc_root) {
        if missing.is_empty() {
            break;
        }
        let entries = fs::read_dir(proc_root.join(format!("{pid}/fd")));
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(link) = fs::read_link(entry.path()) else { continue };
            let inode = link.to_str().and_then(|link| {
                link.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
            });
            if let Some(port) = inode.and_then(|inode| missing.remove(&inode)) {
                found.entry(port).or_insert(pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use taproot_testkit::skip;

    #[test]
    fn listening_lines_are_told_from_others() {
        let line = "   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  105        0 24183 1 0 100 0";
        assert_eq!(listening(line, "0A"), Some((24_183, 5432)));
        assert_eq!(listening(line, "07"), None);
        assert_eq!(listening("  sl  local_address rem_address   st", "0A"), None);
        assert_eq!(listening("", "0A"), None);
    }

    #[test]
    fn both_ways_find_the_same_sockets() {
        let (proc_root, me) = (Path::new("/proc"), std::process::id());
        let held = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("[::1]:0").ok(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let Ok(mut diag) = Diag::open_in(&proc_root.join(format!("{me}/ns/net"))) else {
            skip!("no sock_diag here");
        };
        let mine = |found: BTreeMap<u64, u16>| {
            let mut ports = vec![held.0.local_addr().unwrap().port()];
            ports.extend(held.1.as_ref().map(|listener| listener.local_addr().unwrap().port()));
            ports.push(held.2.local_addr().unwrap().port());
            let found: BTreeMap<_, _> =
                found.into_iter().filter(|(_, port)| ports.contains(port)).collect();
            assert_eq!(found.len(), ports.len());
            found
        };
        assert_eq!(mine(diag.listening().unwrap()), mine(sockets(proc_root, me)));
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let me = std::process::id();
        let proc_root = Path::new("/proc");
        let mut listeners = Listeners::of(proc_root, me);
        let mut sockets = listeners.sockets(proc_root, me);
        sockets.retain(|_, listening| *listening == port);
        assert_eq!(sockets.len(), 1);
        assert_eq!(holders(proc_root, &sockets).get(&port), Some(&me));
        drop(listener);
        assert!(!listeners.sockets(proc_root, me).values().any(|listening| *listening == port));
    }
}
