//! The Container Runtime Interface: what containerd and CRI-O say of pods.

mod client;
mod facts;
mod messages;

pub(crate) use client::Cri;
pub(crate) use facts::Asked;
