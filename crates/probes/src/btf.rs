//! Questions to the running kernel's own type information.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use libbpf_rs::btf::{Btf, BtfType, types};

use crate::{Error, Result};

/// Where the kernel shows its types.
const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types.
pub struct KernelBtf(Btf<'static>);

impl KernelBtf {
    /// Loads `/sys/kernel/btf/vmlinux`.
    pub fn load() -> Result<Self> {
        Btf::from_vmlinux().map(Self).map_err(|_| Error::NoBtf)
    }

    /// Whether there are types at all. Where they are in the usual place they are not read,
    /// which takes some tens of milliseconds.
    pub fn check() -> Result<()> {
        if Path::new(KERNEL).exists() { Ok(()) } else { Self::load().map(drop) }
    }

    /// Position of an argument of a tracepoint, by the argument's name.
    ///
    /// Argument lists drift between kernels, so programs look the position up in
    /// the prototype `__bpf_trace_<tracepoint>` (whose first argument is the
    /// tracepoint's own data and does not count). `None`: no such tracepoint or argument.
    pub fn tracepoint_argument(&self, tracepoint: &str, argument: &str) -> Option<usize> {
        self.tracepoint_arguments(tracepoint)?.iter().position(|name| name == argument)
    }

    /// Names of a tracepoint's arguments in order; `None` when there is no such tracepoint.
    pub fn tracepoint_arguments(&self, tracepoint: &str) -> Option<Vec<String>> {
        let function: types::Func<'_> =
            self.0
                .type_by_name(&format!("__bpf_trace_{tracepoint}"))
                .or_else(|| self.0.type_by_name(&format!("__traceiter_{tracepoint}")))?;
        let prototype: types::FuncProto<'_> = function.next_type()?.try_into().ok()?;
        Some(prototype.iter().skip(1).map(|p| text(p.name)).collect())
    }

    /// Whether a tracepoint exists for BPF (`btf_trace_<name>`).
    pub fn has_tracepoint(&self, tracepoint: &str) -> bool {
        self.0.type_by_name::<types::Typedef<'_>>(&format!("btf_trace_{tracepoint}")).is_some()
    }

    /// Whether a function is known by name.
    pub fn has_function(&self, function: &str) -> bool {
        self.0.type_by_name::<types::Func<'_>>(function).is_some()
    }

    /// The values of an enum by name, `value -> name`; empty when there is no such enum.
    pub fn enumeration(&self, name: &str) -> BTreeMap<u64, String> {
        if let Some(found) = self.0.type_by_name::<types::Enum<'_>>(name) {
            return found.iter().map(|m| (m.value as u64 & 0xffff_ffff, text(m.name))).collect();
        }
        if let Some(found) = self.0.type_by_name::<types::Enum64<'_>>(name) {
            return found.iter().map(|m| (m.value as u64, text(m.name))).collect();
        }
        BTreeMap::new()
    }

    /// The raw BTF, for questions not asked here.
    pub fn raw(&self) -> &Btf<'static> {
        &self.0
    }
}

fn text(name: Option<&OsStr>) -> String {
    name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Name of a BTF type, empty when anonymous.
pub fn type_name(kind: &BtfType<'_>) -> String {
    text(kind.name())
}
