/// What can go wrong between user space and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or libbpf refused.
    #[error("{what}: {source}")]
    Bpf {
        /// What was tried.
        what: String,
        /// libbpf's words.
        source: libbpf_rs::Error,
    },
    /// A system call or file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// No program of a collector could be loaded.
    #[error("{collector}: the kernel accepts none of its programs ({why}); run `taproot doctor`")]
    NothingLoads {
        /// Which collector.
        collector: &'static str,
        /// The first refusal.
        why: String,
    },
    /// The running kernel publishes no type information.
    #[error(
        "the kernel has no BTF at /sys/kernel/btf/vmlinux; it must be built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf,
    /// A request that makes no sense, with a hint.
    #[error("{0}")]
    Invalid(String),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps libbpf's error.
    pub fn bpf(what: impl Into<String>) -> impl FnOnce(libbpf_rs::Error) -> Self {
        move |source| Self::Bpf { what: what.into(), source }
    }

    /// Wraps an I/O error.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
