//! A small real cluster of namespaces, cgroups and servers on this machine,
//! with real faults to inject.
//!
//! The lab knows nothing of Taproot's other crates: it is the oracle whose
//! truth ([`state::Lab`], [`truth::Load`]) a diagnosis is compared with.
//!
//! ```no_run
//! use taproot_lab::{Fault, Lab, Launcher, Options, Params};
//!
//! // `main` of the binary hands `serve ...` to `taproot_lab::serve::main`.
//! let lab = Lab::up(&Options::new(Launcher::current(&["serve"])?))?;
//! let fault = lab.inject(Fault::NoisyNeighbour, &Params::default())?;
//! // ... look at the shop ...
//! fault.clear()?;
//! lab.down()?;
//! # Ok::<(), taproot_lab::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod cgroup;
pub mod cli;
pub mod control;
pub mod cri;
mod error;
pub mod faults;
mod lab;
mod layout;
mod net;
pub mod objects;
mod options;
pub mod plan;
pub mod process;
pub mod serve;
pub mod state;
mod supervisor;
mod tools;
pub mod truth;

pub use error::{Error, Result};
pub use faults::{Fault, FaultHandle, Params};
pub use lab::Lab;
pub use options::{DEFAULT_NAME, Launcher, Options, default_state_dir};
