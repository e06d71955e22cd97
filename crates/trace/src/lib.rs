//! One packet's way through the kernel: hops, identity, path, verdict.
//!
//! [`filter`] turns an expression into what the kernel evaluates; the tracer of the
//! probes crate hands out hops; [`Trace::assemble`] finds which of them are one
//! packet's, over translation, copies and retransmission; [`judge`] says what
//! became of it, and [`render`] says so to people and programs.
#![forbid(unsafe_code)]

mod conversation;
pub mod diff;
pub mod expect;
pub mod filter;
mod frames;
pub mod judge;
mod names;
pub mod nodes;
mod oracle;
mod owner;
mod path;
pub mod pcapng;
pub mod record;
pub mod render;
#[cfg(test)]
mod testing;
pub mod whose;
mod words;

pub use names::{Names, Plain};
pub use oracle::Namespaces;
pub use path::{Conversation, Path, Trace};
