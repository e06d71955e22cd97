//! A real containerd in namespaces of its own, for live tests.

pub(crate) mod cri;
pub(crate) mod node;
