//! Names for namespaces and addresses.

use std::net::SocketAddr;

/// Who is where. Implemented by whoever knows the cluster; see [`Plain`] for none.
pub trait Names {
    /// The owner of a network namespace (`shop/gateway`, `node n1`), by inode.
    fn place(&self, netns: u32) -> Option<String>;

    /// The owner of an address: a pod, a service, a node.
    fn address(&self, address: SocketAddr) -> Option<String>;
}

/// Numbers only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Names for Plain {
    fn place(&self, _: u32) -> Option<String> {
        None
    }

    fn address(&self, _: SocketAddr) -> Option<String> {
        None
    }
}

/// A namespace in words, also one that nobody knows.
pub(crate) fn place(names: &dyn Names, netns: Option<u32>) -> String {
    match netns {
        Some(inode) => names.place(inode).unwrap_or_else(|| format!("netns {inode}")),
        None => "the kernel".to_owned(),
    }
}

/// An end in words: its name, where it has one, and its address.
pub(crate) fn end(names: &dyn Names, address: SocketAddr) -> String {
    let shown = if address.port() == 0 { address.ip().to_string() } else { address.to_string() };
    match names.address(address) {
        Some(name) => format!("{name} ({shown})"),
        None => shown,
    }
}
