//! What the two hellos say.

use std::sync::Arc;

use crate::exchange::Text;
use crate::exchange::read::{Reader, name};

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
/// The `random` of a hello that only asks for another one (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A client's or a server's hello, as far as it was there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hello {
    /// The version on the wire; the server's is the one agreed on.
    pub(super) version: u16,
    /// The host that was asked for.
    pub(super) server_name: Option<Arc<str>>,
    /// The application protocol, where only one is named.
    pub(super) alpn: Option<Arc<str>>,
    /// The server asks for another hello.
    pub(super) retry: bool,
}

impl Hello {
    /// From the body of the message.
    pub(super) fn read(body: &[u8], of_client: bool) -> Option<Self> {
        let mut reader = Reader(body);
        let mut hello = Self { version: reader.u16()?, ..Self::default() };
        hello.retry = !of_client && reader.take(32)? == RETRY;
        if of_client {
            reader.take(32)?;
        }
        let session = usize::from(reader.u8()?);
        reader.take(session)?;
        if of_client {
            let ciphers = usize::from(reader.u16()?);
            reader.take(ciphers)?;
            let compressions = usize::from(reader.u8()?);
            reader.take(compressions)?;
        } else {
            reader.take(3)?;
        }
        // Extensions may be left out, and a copy may have been cut.
        hello.extensions(reader, of_client);
        Some(hello)
    }

    fn extensions(&mut self, mut reader: Reader<'_>, of_client: bool) -> Option<()> {
        reader.u16()?;
        loop {
            let (kind, length) = (reader.u16()?, usize::from(reader.u16()?));
            let mut body = Reader(reader.take(length)?);
            match kind {
                SERVER_NAME if of_client => self.server_name = server_name(body),
                ALPN => self.alpn = only_protocol(body),
                SUPPORTED_VERSIONS if !of_client => self.version = body.u16()?,
                _ => {}
            }
        }
    }
}

fn server_name(mut list: Reader<'_>) -> Option<Arc<str>> {
    list.u16()?;
    let (kind, length) = (list.u8()?, usize::from(list.u16()?));
    let host = list.take(length).filter(|_| kind == 0)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    (host.len() <= 253 && host.iter().all(plain)).then(|| name(&host.to_ascii_lowercase()))
}

fn only_protocol(mut list: Reader<'_>) -> Option<Arc<str>> {
    list.u16()?;
    let length = usize::from(list.u8()?);
    let protocol = list.take(length)?;
    list.0.is_empty().then(|| name(protocol))
}

/// As OpenSSL and tshark write it.
pub(super) fn version(number: u16) -> Text {
    match number {
        0x0300 => "SSLv3".into(),
        0x0301 => "TLSv1.0".into(),
        0x0302 => "TLSv1.1".into(),
        0x0303 => "TLSv1.2".into(),
        0x0304 => "TLSv1.3".into(),
        _ => "_OTHER".into(),
    }
}
