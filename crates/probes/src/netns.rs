//! Network namespaces: inode (what `/proc/<pid>/ns/net` shows) and cookie (what
//! BPF programs see).

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Error, Result};

/// A network namespace under both of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns {
    /// Inode of the namespace file; reused after the namespace is gone.
    pub inode: u32,
    /// Cookie; never reused while the machine is up.
    pub cookie: u64,
}

impl Netns {
    /// The calling thread's own namespace.
    pub fn current() -> Result<Self> {
        let path = Path::new("/proc/thread-self/ns/net");
        Self::describe(&open(path)?).map_err(Error::io(path.display().to_string()))
    }

    /// The namespace behind a file such as `/proc/<pid>/ns/net` or `/run/netns/<name>`.
    ///
    /// A short-lived thread enters the namespace; the caller stays where it is.
    pub fn of(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let inside = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                    Self::describe(&file)
                })
                .join()
        });
        inside
            .unwrap_or_else(|_| Err(io::Error::other("the thread that entered it died")))
            .map_err(Error::io(format!("network namespace {}", path.display())))
    }

    fn describe(file: &File) -> io::Result<Self> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        Ok(Self { inode: file.metadata()?.ino() as u32, cookie: cookie_of(&socket)? })
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(Error::io(format!("network namespace {}", path.display())))
}

/// `SO_NETNS_COOKIE` (Linux 5.14), which no safe wrapper offers.
fn cookie_of(socket: &OwnedFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the descriptor is open for the whole call; the kernel writes at most
    // `length` bytes, and `cookie` is exactly that large and valid for any content.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if status == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entering_our_own_namespace_finds_the_same() {
        let own = Netns::current().expect("SO_NETNS_COOKIE");
        assert!(own.cookie > 0);
        // Entering needs privileges that a plain user lacks.
        match Netns::of(Path::new("/proc/self/ns/net")) {
            Ok(entered) => assert_eq!(entered, own),
            Err(Error::Io { source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_missing_namespace_is_named() {
        let error = Netns::of(Path::new("/run/netns/no-such-netns")).expect_err("none there");
        assert!(error.to_string().contains("no-such-netns"), "{error}");
    }
}
