//! What every protocol but HTTP/1 yields: a [`Call`], with the ways to pair one.
//!
//! | module | what it does |
//! |---|---|
//! | `cut` | cuts messages that carry their length, stepping over what was not copied |
//! | `queue` | pairs answers that come in the order of the requests |
//! | `table` | pairs answers that carry the number of their request |

mod call;
pub(crate) mod cut;
pub(crate) mod queue;
pub(crate) mod read;
pub(crate) mod table;

pub use call::{Call, Outcome, Text, Times, Wire};
pub use cut::Timed;
