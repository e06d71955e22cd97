//! The login: what of it decides how the connection goes on.

use std::sync::Arc;

use crate::exchange::read::{Reader, name};

const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const SECURE_CONNECTION: u32 = 1 << 15;
const AUTH_LENENC: u32 = 1 << 21;
const ZSTD: u32 = 1 << 26;

/// What the client's answer to the greeting says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// TLS follows at once.
    Tls,
    /// It logs in.
    Plain {
        /// Packets are compressed once the login is through, if the server can.
        compressed: bool,
        database: Option<Arc<str>>,
    },
}

/// Reads the client's answer to the greeting.
pub(super) fn read(payload: &[u8]) -> Option<Login> {
    let mut reader = Reader(payload);
    let low = reader.take(4)?;
    let flags = u32::from_le_bytes(low.try_into().ok()?);
    if flags & PROTOCOL_41 == 0 {
        return Some(Login::Plain { compressed: false, database: None });
    }
    reader.take(28)?;
    if flags & SSL != 0 && reader.0.is_empty() {
        return Some(Login::Tls);
    }
    let compressed = flags & (COMPRESS | ZSTD) != 0;
    Some(Login::Plain { compressed, database: database(reader, flags) })
}

fn database(mut reader: Reader<'_>, flags: u32) -> Option<Arc<str>> {
    reader.until_zero()?;
    if flags & (AUTH_LENENC | SECURE_CONNECTION) == 0 {
        reader.until_zero()?;
    } else {
        let length = reader.u8()?;
        reader.take(usize::from(length))?;
    }
    let found = if flags & CONNECT_WITH_DB == 0 { None } else { reader.until_zero() };
    found.filter(|found| !found.is_empty()).map(name)
}

/// Whether the server of that greeting can compress.
pub(super) fn can_compress(greeting: &[u8]) -> bool {
    let mut reader = Reader(greeting);
    let flags = (|| {
        reader.u8()?;
        reader.until_zero()?;
        reader.take(13)?;
        reader.take(2)
    })();
    flags.is_some_and(|flags| u32::from(flags[0]) & COMPRESS != 0)
}
