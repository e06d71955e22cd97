//! Network namespaces: which one a process is in, and the addresses in it.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The inode of the network namespace of a process: what BPF reads as
/// `net->ns.inum`.
pub fn of_pid(proc_root: &Path, pid: u32) -> io::Result<u64> {
    let link = fs::read_link(proc_root.join(format!("{pid}/ns/net")))?;
    parse_link(&link.to_string_lossy())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a network namespace"))
}

/// The inode in `net:[4026531840]`.
fn parse_link(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Does something inside the namespace at a path (`/proc/<pid>/ns/net`,
/// `/run/netns/<name>`), on a thread of its own: the caller stays where it is. A socket
/// that is made there stays there.
///
/// # Errors
/// When the namespace cannot be entered; it takes `CAP_SYS_ADMIN`.
pub fn inside<T: Send>(path: &Path, task: impl FnOnce() -> T + Send) -> io::Result<T> {
    let namespace = File::open(path)?;
    std::thread::scope(|scope| {
        let enter = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(task())
        };
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, enter)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The named namespaces below a folder (`/run/netns`), by inode.
pub fn named(folder: &Path) -> HashMap<u64, PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return HashMap::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter_map(|path| Some((fs::metadata(&path).ok()?.ino(), path))).collect()
}

/// The addresses that the network namespace of a process has of its own:
/// neither loopback nor link-local nor multicast.
pub fn addresses(proc_root: &Path, pid: u32) -> io::Result<Vec<IpAddr>> {
    let net = proc_root.join(format!("{pid}/net"));
    let v4 = fs::read_to_string(net.join("fib_trie"))?;
    // Absent where IPv6 is off.
    let v6 = fs::read_to_string(net.join("if_inet6")).unwrap_or_default();
    let mut found = local_v4(&v4);
    found.extend(local_v6(&v6));
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Addresses marked `/32 host LOCAL` in `/proc/net/fib_trie`; the address is on
/// the line before (`|-- 10.244.1.3`).
fn local_v4(fib_trie: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found
                .extend(last.filter(|ip| !ip.is_loopback() && !ip.is_link_local()).map(IpAddr::V4));
        }
    }
    found
}

/// Global addresses (scope 00) of `/proc/net/if_inet6`: `address index prefix
/// scope flags device`, all hexadecimal.
fn local_v6(if_inet6: &str) -> Vec<IpAddr> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        (fields.nth(2)? == "00").then(|| IpAddr::V6(Ipv6Addr::from_bits(address)))
    };
    if_inet6.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_link_has_an_inode() {
        assert_eq!(parse_link("net:[4026531840]"), Some(4_026_531_840));
        assert_eq!(parse_link("mnt:[4026531840]"), None);
        assert_eq!(parse_link("net:[]"), None);
    }

    #[test]
    fn own_addresses_are_told_from_routes_and_loopback() {
        let trie = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.244.1.0
        /24 link UNICAST
Local:
     |-- 10.244.1.3
        /32 host LOCAL
     |-- 10.244.1.255
        /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 169.254.7.7
        /32 host LOCAL
";
        assert_eq!(local_v4(trie), ["10.244.1.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(local_v4("junk\n/32 host LOCAL\n"), Vec::<IpAddr>::new());
    }

    #[test]
    fn global_v6_addresses_only() {
        let table = "\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000a00e00fffe000001 02 40 20 80     eth0
fd000000000000000000000000000007 02 40 00 80     eth0
short
";
        assert_eq!(local_v6(table), ["fd00::7".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn this_process_is_somewhere() {
        let proc_root = Path::new("/proc");
        let inode = of_pid(proc_root, std::process::id()).unwrap();
        assert_eq!(fs::metadata("/proc/self/ns/net").unwrap().ino(), inode);
        assert!(
            addresses(proc_root, std::process::id()).unwrap().iter().all(|ip| !ip.is_loopback())
        );
        assert!(named(Path::new("/no/such/folder")).is_empty());
        assert!(inside(Path::new("/no/such/namespace"), || ()).is_err());
    }
}
