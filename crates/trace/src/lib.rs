//! One packet's way through the kernel: hops, identity, path, verdict.
#![forbid(unsafe_code)]

pub mod filter;
