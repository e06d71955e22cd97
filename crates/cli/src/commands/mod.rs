//! One file a command.

pub(crate) mod diagnose;
mod diagnose_trace;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod lab;
pub(crate) mod logs;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod requests;
pub(crate) mod run;
mod run_packets;
pub(crate) mod shell;
