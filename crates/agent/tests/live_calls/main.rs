//! Requests of real servers, counted by an agent that watches their control group,
//! against what the servers themselves counted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

/// The bed of a test, which is skipped where there can be none.
macro_rules! new_bed {
    () => {
        match crate::Bed::new() {
            Ok(bed) => bed,
            Err(why) => taproot_testkit::skip!("{why}"),
        }
    };
}

/// Puts a load on until all of it was read; skipped where it never was.
macro_rules! read_whole {
    ($load:expr) => {
        if let Err(why) = crate::bed::read_whole($load) {
            taproot_testkit::skip!("{why}");
        }
    };
}

mod bed;
mod dns;
mod queues;
mod redis;
mod sql;
mod tls;
mod web;

use bed::Bed;
use taproot_testkit::guest_kernel;

/// A number of requests; emulated guests are some twenty times slower, and fewer
/// prove the same.
fn many(full: u64) -> u64 {
    if guest_kernel().is_some() { full / 20 } else { full }
}
