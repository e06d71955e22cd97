//! Sockets that wait for packets.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::{SockDiagMessage, constants::TCP_LISTEN};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::netlink::{absent, dump};

/// A socket that waits for packets: a TCP listener, or a bound UDP socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Whether TCP; otherwise UDP.
    pub tcp: bool,
    /// Where it waits.
    pub at: SocketAddr,
    /// Whether it takes packets from one peer only.
    pub connected: bool,
    /// TCP: connections that wait to be accepted. UDP: bytes that wait.
    pub waiting: u32,
    /// TCP: how many may wait. UDP: how many bytes may wait.
    pub limit: u32,
    /// Packets that it dropped.
    pub drops: u32,
    /// Its inode, as `/proc/<pid>/fd` shows it.
    pub inode: u32,
}

impl Waiting {
    /// Whether a packet to an address would come to this socket.
    pub fn takes(&self, tcp: bool, to: SocketAddr) -> bool {
        let any = self.at.ip().is_unspecified() && (self.at.is_ipv6() || to.is_ipv4());
        self.tcp == tcp && self.at.port() == to.port() && (any || same(self.at.ip(), to.ip()))
    }
}

/// IPv4 addresses may be written as IPv6 ones.
fn same(left: IpAddr, right: IpAddr) -> bool {
    left.to_canonical() == right.to_canonical()
}

/// All waiting sockets of the calling thread's namespace.
pub(crate) fn read() -> Result<Vec<Waiting>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            match dump(NETLINK_SOCK_DIAG, "sockets", question(family, protocol)) {
                Ok(answers) => {
                    found.extend(answers.iter().filter_map(|a| socket(a, protocol == IPPROTO_TCP)));
                }
                Err(error) if absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

fn question(family: u8, protocol: u8) -> SockDiagMessage {
    let tcp = protocol == IPPROTO_TCP;
    SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::SKMEMINFO,
        // A bound UDP socket without a peer is "closed", one with is "established".
        states: if tcp {
            StateFlags::LISTEN
        } else {
            StateFlags::from_bits_retain(1 << TCP_CLOSE) | StateFlags::ESTABLISHED
        },
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    })
}

fn socket(message: &SockDiagMessage, tcp: bool) -> Option<Waiting> {
    let SockDiagMessage::InetResponse(response) = message else { return None };
    let InetResponse { header, nlas } = response.as_ref();
    let id = &header.socket_id;
    let memory = nlas.iter().find_map(|nla| match nla {
        Nla::MemInfo(memory) => Some(memory),
        _ => None,
    });
    Some(Waiting {
        tcp,
        at: SocketAddr::new(id.source_address, id.source_port),
        connected: !tcp && id.destination_port != 0,
        waiting: header.recv_queue,
        limit: if tcp { header.send_queue } else { memory.map_or(0, |m| m.receive_queue_max) },
        drops: memory.map_or(0, |m| m.drops),
        inode: header.inode,
    })
    .filter(|socket| !tcp || header.state == TCP_LISTEN || socket.limit > 0)
}
