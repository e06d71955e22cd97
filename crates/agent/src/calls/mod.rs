//! Requests of every protocol but plain HTTP/1: payload to parsers to counts.
//!
//! A thread of its own empties the ring of [`taproot_probes::payload`], because a ring
//! that is looked at once a second would have to hold a second's payload. It feeds
//! each connection to a parser that is chosen by content, tells the kernel what it
//! still wants to see, and counts. Once an interval the agent takes what was counted.
//!
//! | module | what it does |
//! |---|---|
//! | [`reader`] | the thread, and the agent's handle on it |
//! | [`table`] | connections: bytes to parsers, and what is wanted of them |
//! | [`conversation`] | one connection: sides, positions, its parser |
//! | [`sealed`] | what is said inside of TLS |
//! | [`libraries`] | the thread that attaches to TLS libraries |
//! | [`lookups`] | DNS over UDP |
//! | [`tally`] | counts by caller, callee, operation, target and outcome |
//! | [`signals`] | what was counted, named, as signals |

mod conversation;
mod libraries;
mod lookups;
mod reader;
mod sealed;
pub(crate) mod signals;
mod table;
#[cfg(test)]
mod table_tests;
mod tally;

pub(crate) use reader::Calls;
