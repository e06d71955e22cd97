//! One file with every signal, to carry away and replay.
//!
//! ```text
//! file   = mark (8 bytes) version (u32 LE) frame(header) frame(batch)* frame(end)
//! frame  = kind (u32) stored length (u32) raw length (u32) CRC-32 of the payload (u32)
//!          CRC-32 of these 16 bytes (u32) payload (LZ4 block of MessagePack)
//! ```
//!
//! All numbers are little-endian. A frame's head has a checksum of its own, so
//! that a damaged length is told apart from a file that simply ends: the latter
//! is how a killed writer looks ([`Ending::Interrupted`]), and everything before
//! it is sound. How the format may grow is written in `docs/decisions/0004`.

mod frame;
mod reader;
mod writer;

pub use reader::{Ending, RecordingReader};
pub use writer::RecordingWriter;

use serde::{Deserialize, Serialize};
use taproot_model::{Name, Timestamp};

/// The first bytes of every recording. The last one ends a text file, so that
/// a tool which prints it stops there.
pub const MARK: [u8; 8] = *b"TAPROOT\x1a";

/// The newest format this program reads, and the one it writes. 2: more protocols; 4: more
/// kinds of changes. Any two of them differ in two bits, so that one that is flipped makes
/// none of another; therefore there is no 3.
pub const FORMAT: u32 = 4;

/// All formats that are read.
pub const FORMATS: [u32; 3] = [1, 2, FORMAT];

/// No frame is larger than this, before and after compression, bytes.
pub const FRAME_LIMIT: usize = 16 << 20;

/// Who recorded what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the taproot that wrote it.
    pub agent_version: Name,
    /// `k8s.node.name`, or the host's name.
    pub node: Name,
    /// Wall clock minus monotonic clock at the start, nanoseconds.
    pub clock_offset: i64,
    /// When the recording began.
    pub started: Timestamp,
    /// What was observed, as the user asked for it (`--scope`); empty for everything.
    pub scope: Name,
}

/// The last frame: what the file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    signals: u64,
    batches: u64,
}
