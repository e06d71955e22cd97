//! What one namespace would do with a packet, from its state alone.

mod walk;

use std::net::SocketAddr;

use taproot_model::{Blame, Tuple};

pub use walk::predict;

/// A packet at the door of a namespace.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// Its addresses, ports, protocol.
    pub tuple: &'a Tuple,
    /// The device that it comes in by, by number; none for one made here.
    pub came_in: Option<u32>,
    /// Its mark; 0 for none.
    pub mark: u32,
    /// Whether it must not be cut into fragments.
    pub whole: bool,
}

/// One thing that is decided over the packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// A rule wrote a new destination.
    Translated {
        /// The destination before.
        from: SocketAddr,
        /// The destination after.
        to: SocketAddr,
    },
    /// A route was chosen.
    Routed {
        /// The rule that led to the table, as `ip rule` writes it.
        rule: String,
        /// The table's name.
        table: String,
        /// The route, as `ip route` writes it.
        route: String,
    },
}

/// How a packet's way through the namespace ends.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// A socket here takes it; the place where that waits.
    Delivered(SocketAddr),
    /// It is for this namespace, in a protocol that needs no waiting socket, or
    /// in the middle of a connection.
    Here,
    /// It leaves by a device.
    Leaves {
        /// The device's name.
        device: String,
        /// The next host on the link.
        next: std::net::IpAddr,
    },
    /// Something stops it.
    Stopped(Blame),
}

/// The way that a packet is expected to take through one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// What is decided over it, in order.
    pub decided: Vec<Decided>,
    /// How it ends.
    pub end: End,
    /// What could not be judged; a way with doubts is a guess.
    pub doubts: Vec<String>,
}
