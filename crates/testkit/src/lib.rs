//! What the tests of every crate share.
//!
//! A test that cannot run on a machine must neither pass nor fail: it is
//! *skipped by name, with the reason*. libtest knows only "ok" and "FAILED", so
//! a skipping test says so in a file named by [`SKIP_LOG_VAR`], and returns.
//! `cargo xtask test` sets that variable, takes the named tests out of the
//! "passed" column and lists them under "skipped". Without the variable (a plain
//! `cargo test`) the reason is only printed.
//!
//! ```no_run
//! use taproot_testkit::{need, need_commands, need_root, skip};
//!
//! fn counts_every_request() {
//!     need_root!();
//!     need_commands!("nginx", "ab");
//!     need!(std::path::Path::new("/sys/kernel/btf/vmlinux").exists(), "kernel has no BTF");
//!     if let Err(why) = std::fs::metadata("/sys/fs/bpf") {
//!         skip!("no bpf file system: {why}");
//!     }
//! }
//! ```
#![forbid(unsafe_code)]

mod machine;
mod skip;

pub use machine::{command_path, guest_kernel, is_root, missing_commands};
pub use skip::{SKIP_LOG_VAR, announce, test_name};

/// Skips the running test: says why, and returns from the function.
///
/// Takes what `format!` takes. Usable in a function that returns `()`.
#[macro_export]
macro_rules! skip {
    ($($why:tt)+) => {{
        fn here() {}
        $crate::announce($crate::test_name(here), &::std::format!($($why)+));
        return;
    }};
}

/// Skips the running test unless a condition holds: `need!(condition, "why not")`.
#[macro_export]
macro_rules! need {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            $crate::skip!($($why)+);
        }
    };
}

/// Skips the running test unless it runs as root.
#[macro_export]
macro_rules! need_root {
    () => {
        $crate::need!($crate::is_root(), "not root: run it with sudo or in a guest")
    };
}

/// Skips the running test unless every named command is installed.
#[macro_export]
macro_rules! need_commands {
    ($($name:expr),+ $(,)?) => {
        let missing = $crate::missing_commands(&[$($name),+]);
        $crate::need!(missing.is_empty(), "not installed: {}", missing.join(", "));
    };
}
