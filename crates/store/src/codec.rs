//! The one encoding of everything that is kept: `MessagePack` with field names.
//!
//! Names make a record describe itself, so that a field can be added to a signal
//! without making older files unreadable; see `docs/decisions/0004`.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("{0}")]
    Encode(#[from] rmp_serde::encode::Error),
    #[error("{0}")]
    Decode(#[from] rmp_serde::decode::Error),
}

/// A value as bytes, field names included.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    Ok(rmp_serde::to_vec_named(value)?)
}

/// A value back from its bytes.
///
/// Lengths that the bytes claim are not believed: serde reserves at most 1 MiB
/// ahead of what was really read.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    Ok(rmp_serde::from_slice(bytes)?)
}
