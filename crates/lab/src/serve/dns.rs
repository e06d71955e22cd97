//! DNS over UDP (RFC 1035), as much of it as the shop needs: the cluster's
//! little name server, and the product's resolver.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::control::{Dns, Watch};

const A: u16 = 1;
const IN: u16 = 1;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const TTL_SECONDS: u32 = 5;

/// Domain of the shop's services.
pub(crate) const DOMAIN: &str = "shop.svc.cluster.local";

/// Serves A records until the process ends; `lookup` gives the address of a
/// name without its final dot.
pub(crate) fn serve(
    port: u16,
    watch: &Watch,
    lookup: impl Fn(&str) -> Option<Ipv4Addr>,
) -> io::Result<()> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    let mut packet = [0_u8; 512];
    let mut failures = 0_u64;
    loop {
        let (n, from) = socket.recv_from(&mut packet)?;
        let control = watch.get();
        if control.dns == Dns::Silent {
            continue;
        }
        let Some((name, kind, end)) = question(&packet[..n]) else { continue };
        let (code, address) = match lookup(&name) {
            _ if control.dns == Dns::Servfail => (SERVFAIL, None),
            None => (NXDOMAIN, None),
            found => (0, found.filter(|_| kind == A)),
        };
        if code == SERVFAIL && failures.is_multiple_of(20) {
            println!("[ERROR] plugin/errors: 2 {name}. A: upstream refused: SERVFAIL");
        }
        failures += u64::from(code == SERVFAIL);
        socket.send_to(&reply(&packet[..end], code, address), from)?;
    }
}

/// Asks a server for the address of a name, twice at most.
pub(crate) fn resolve(server: SocketAddr, name: &str) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(700)))?;
    // The port already tells answers apart; the number needs only to vary.
    let id = socket.local_addr()?.port();
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..2 {
        socket.send(&query(id, name))?;
        let mut packet = [0_u8; 512];
        match socket.recv(&mut packet) {
            Ok(n) => return answer(&packet[..n], id),
            Err(e) => last = e,
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer from {server}: {last}")))
}

fn query(id: u16, name: &str) -> Vec<u8> {
    // Recursion desired, one question.
    let mut out = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.').filter(|l| !l.is_empty()) {
        out.push(label.len().min(63) as u8);
        out.extend_from_slice(&label.as_bytes()[..label.len().min(63)]);
    }
    out.push(0);
    out.extend_from_slice(&A.to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    out
}

/// Name, kind and end of the first question.
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = packet.get(at..at + length).filter(|_| length < 64)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    Some((labels.join("."), two(packet, at)?, at + 4))
}

/// The answer to a query, which is repeated up to the end of its question.
fn reply(query: &[u8], code: u8, address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut out = query.to_vec();
    out[2] = 0x85; // response, authoritative, recursion desired
    out[3] = 0x80 | code;
    out[4..12].copy_from_slice(&[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    if let Some(address) = address {
        out.extend_from_slice(&[0xc0, 12]); // the name is where the question's is
        out.extend_from_slice(&A.to_be_bytes());
        out.extend_from_slice(&IN.to_be_bytes());
        out.extend_from_slice(&TTL_SECONDS.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&address.octets());
    }
    out
}

fn answer(packet: &[u8], id: u16) -> io::Result<Ipv4Addr> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let header = packet.get(..12).filter(|p| p[..2] == id.to_be_bytes());
    let code = header.ok_or_else(|| bad("answer to another question"))?[3] & 15;
    match code {
        0 => {}
        SERVFAIL => return Err(io::Error::other("server misbehaving (SERVFAIL)")),
        NXDOMAIN => return Err(io::Error::other("no such host (NXDOMAIN)")),
        other => return Err(io::Error::other(format!("server answered with code {other}"))),
    }
    let (_, _, end) = question(packet).ok_or_else(|| bad("damaged answer"))?;
    // Our own server writes the one record right behind the question.
    let address: Option<[u8; 4]> = packet.get(end + 12..end + 16).and_then(|a| a.try_into().ok());
    Ok(address.ok_or_else(|| bad("answer without an address"))?.into())
}

fn two(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_answered_and_understood() {
        let q = query(7, "inventory.shop.svc.cluster.local");
        let (name, kind, end) = question(&q).unwrap();
        assert_eq!((name.as_str(), kind, end), ("inventory.shop.svc.cluster.local", A, q.len()));
        let address = Ipv4Addr::new(10, 96, 0, 22);
        assert_eq!(answer(&reply(&q, 0, Some(address)), 7).unwrap(), address);
        let refused = answer(&reply(&q, SERVFAIL, None), 7).unwrap_err();
        assert!(refused.to_string().contains("SERVFAIL"));
        assert!(answer(&reply(&q, 0, Some(address)), 8).is_err());
    }

    #[test]
    fn cut_packets_are_refused() {
        let q = query(7, "a.b");
        for n in 0..q.len() - 4 {
            assert_eq!(question(&q[..n]), None, "{n}");
        }
    }
}
