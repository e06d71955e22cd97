//! Waiting sockets, as `sock_diag(7)` tells of them.

use crate::netns;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// A line to the sockets of one network namespace. It keeps the namespace alive: keep
/// one for the node, not for pods.
pub(super) struct Diag(Socket);

impl Diag {
    /// Opens a line to the namespace at a path (`/proc/<pid>/ns/net`).
    pub(super) fn open_in(path: &Path) -> io::Result<Self> {
        netns::inside(path, || {
            let socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(Self(socket))
        })?
    }

    /// Inode to port of TCP sockets that listen and of UDP sockets without a peer.
    pub(super) fn listening(&mut self) -> io::Result<BTreeMap<u64, u16>> {
        let mut found = BTreeMap::new();
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            for family in [AF_INET, AF_INET6] {
                self.dump(question(family, protocol), &mut found)?;
            }
        }
        Ok(found)
    }

    fn dump(&mut self, question: InetRequest, found: &mut BTreeMap<u64, u16>) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let question = NetlinkPayload::from(SockDiagMessage::InetRequest(question));
        let mut message = NetlinkMessage::new(header, question);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        loop {
            let (bytes, _) = self.0.recv_from_full()?;
            if read_part(&bytes, found)? {
                return Ok(());
            }
        }
    }
}

fn question(family: u8, protocol: u8) -> InetRequest {
    let tcp = protocol == IPPROTO_TCP;
    InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::empty(),
        // A UDP socket without a peer is "closed".
        states: if tcp { StateFlags::LISTEN } else { StateFlags::from_bits_retain(1 << TCP_CLOSE) },
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    }
}

/// Reads one datagram of an answer; says whether it was the last.
fn read_part(bytes: &[u8], found: &mut BTreeMap<u64, u16>) -> io::Result<bool> {
    let malformed = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut rest = bytes;
    while !rest.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
            .map_err(|error| malformed(error.to_string()))?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                let header = response.header;
                found.insert(header.inode.into(), header.socket_id.source_port);
            }
            _ => {}
        }
        // Messages begin at multiples of four bytes.
        let length = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(length.max(4)..).unwrap_or_default();
    }
    Ok(false)
}
