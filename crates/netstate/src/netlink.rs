//! A synchronous line to the kernel: one question, all its answers.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

use crate::{Error, Result};

/// Asks one netlink family for all entries of a kind.
pub(crate) fn dump<M>(family: isize, what: &'static str, question: M) -> Result<Vec<M>>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    exchange(family, what, question, NLM_F_REQUEST | NLM_F_DUMP)
}

/// Asks one question that has one answer.
pub(crate) fn ask<M>(family: isize, what: &'static str, question: M) -> Result<Vec<M>>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    exchange(family, what, question, NLM_F_REQUEST)
}

fn exchange<M>(family: isize, what: &'static str, question: M, flags: u16) -> Result<Vec<M>>
where
    M: NetlinkSerializable + NetlinkDeserializable,
{
    let failed = |source| Error::Netlink { what, source };
    let socket = Socket::new(family).map_err(failed)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
    // A dump is then filtered by what its header asks for, not sent whole.
    socket.set_netlink_get_strict_chk(true).map_err(failed)?;
    socket.send(&frame(question, flags), 0).map_err(failed)?;
    let mut answers = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full().map_err(failed)?;
        if read_part(&bytes, what, &mut answers)? || flags & NLM_F_DUMP == 0 {
            return Ok(answers);
        }
    }
}

fn frame<M: NetlinkSerializable>(question: M, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Reads one datagram of answers; says whether it was the last.
fn read_part<M: NetlinkDeserializable>(
    bytes: &[u8],
    what: &'static str,
    answers: &mut Vec<M>,
) -> Result<bool> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let message = NetlinkMessage::<M>::deserialize(rest)
            .map_err(|why| Error::Malformed { what, why: why.to_string() })?;
        let length = message.header.length as usize;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => match error.code {
                None => return Ok(true),
                Some(_) => return Err(Error::Netlink { what, source: error.to_io() }),
            },
            NetlinkPayload::InnerMessage(inner) => answers.push(inner),
            _ => {}
        }
        // Messages are padded to four bytes; the last one need not be.
        rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// One message of a datagram, its payload unread.
pub(crate) struct Raw<'a> {
    /// Its type.
    pub(crate) kind: u16,
    /// Its flags.
    pub(crate) flags: u16,
    /// The socket that asked for what it tells; 0 for the kernel itself.
    pub(crate) port: u32,
    /// Header and payload.
    pub(crate) whole: &'a [u8],
    /// What follows the header.
    pub(crate) payload: &'a [u8],
}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The messages of one datagram; what follows a broken length is left out.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let word = |at: usize| rest.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let length = word(0)? as usize;
        let (kind_and_flags, port) = (word(4)?, word(12)?);
        let whole = rest.get(..length).filter(|whole| whole.len() >= HEADER)?;
        let [kind, flags] = halves(kind_and_flags);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Raw { kind, flags, port, whole, payload: &whole[HEADER..] })
    })
}

/// Two numbers of 16 bits that lie side by side.
fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

/// The attributes of a message: kind and value. Flags in the upper two bits of the kind
/// (nested, byte order) are taken off.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const OF_KIND: u16 = 0x3fff;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = rest.get(..4)?.try_into().ok().map(u32::from_ne_bytes)?;
        let [length, kind] = halves(head);
        let value = rest.get(4..usize::from(length))?;
        rest = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        Some((kind & OF_KIND, value))
    })
}

/// Whether an error of the kernel means "no such thing here" rather than a fault:
/// a family, a queue or a table that this kernel was built without.
pub(crate) fn absent(error: &Error) -> bool {
    let Error::Netlink { source, .. } = error else { return false };
    source.kind() == io::ErrorKind::NotFound
        || source.kind() == io::ErrorKind::Unsupported
        || source.raw_os_error().is_some_and(|code| NOT_BUILT.contains(&code))
}

/// `EPROTONOSUPPORT`, `EAFNOSUPPORT`, `EOPNOTSUPP`.
const NOT_BUILT: [i32; 3] = [93, 97, 95];
