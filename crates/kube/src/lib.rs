//! Who is this? From cgroup, network namespace, address and pid to container, pod, workload and service.
//!
//! An agent asks one thing, the [`Resolver`]:
//!
//! ```no_run
//! use taproot_kube::{Options, Resolver};
//! use taproot_model::Timestamp;
//!
//! let resolver = Resolver::start(Options::detect());
//! let server = resolver.resolve_cgroup(4711);
//! let peer = resolver.resolve_addr(None, "10.244.1.3".parse()?, 8080, Timestamp::now());
//! for source in resolver.status() {
//!     println!("{}: {:?}, {}", source.name, source.state, source.detail);
//! }
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! Three layers, each testable without the one above:
//!
//! - Readers, pure: [`cgroup`] paths, Kubernetes [`Objects`] as JSON, [`conntrack`]
//!   messages, the runtimes' state files. They turn what a source says into
//!   [`PodFact`]s.
//! - The [`Directory`], no I/O: merges the facts of all sources, keeps who owned
//!   which address when ([`History`]), makes the entities.
//! - The [`Resolver`] and its sources, one thread each: kernel events, control
//!   group trees and `/proc`, state files of containerd, CRI-O, Podman and Docker,
//!   the CRI socket, kubelet, API server, a file of objects. Each may be away or
//!   fail; the others go on, and what was known is still used.
//!
//! A group that the kernel has just made already tells container id and pod uid by
//! its path; the names follow, and the entity then appears in
//! [`Resolver::drain_changes`]. What cannot be named is counted
//! ([`Resolver::counters`]).
//!
//! `cargo run -p taproot-kube --example who -- PID ADDRESS...` asks by hand.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod conntrack;
mod cri;
mod directory;
mod facts;
mod history;
mod http;
mod listeners;
pub mod netns;
mod objects;
mod process;
mod resolver;
mod sources;
mod workload;

pub use directory::{Directory, FactSource};
pub use facts::{ContainerFact, End, PodFact, Workload};
pub use history::{History, Lease};
pub use objects::{
    Backend, EventFact, EventObject, ObjectError, Objects, Service, ServicePort, Services,
};
pub use resolver::{Counters, HttpTarget, Options, Resolver, SourceState, SourceStatus};
