//! BPF programs, one folder a collector, with their loader and capability probing.
//!
//! Each collector is a folder: its `.bpf.c`, the header both sides share, and the
//! Rust that drives it. A collector loads what the running kernel accepts, says
//! what it had to leave out ([`Off`]) and counts what it could not see. Nothing
//! here asks for a kernel version: a hook works when it loads and attaches.
//!
//! This is the only crate with `unsafe`: reading kernel records as Rust types.
#![allow(unsafe_code, reason = "kernel records are plain bytes; see pod.rs")]

pub mod btf;
pub mod cost;
pub mod doctor;
mod error;
pub mod flow;
pub mod http;
pub mod lifecycle;
mod loader;
mod maps;
pub mod netns;
pub mod payload;
mod pod;
pub mod pressure;
pub mod tls;
pub mod trace;

pub use error::{Error, Result};
pub use loader::{Attached, Off, attach_all, load_tolerant, silence_libbpf};
pub use pod::{Pod, as_bytes, from_bytes};
