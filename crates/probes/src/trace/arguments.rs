//! Functions of the running kernel by what they are given, modules included.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::NonNull;

use libbpf_rs::libbpf_sys as sys;

/// `BTF_KIND_*` of `include/uapi/linux/btf.h`.
const POINTER: u32 = 2;
const STRUCT: u32 = 4;
const CONST: u32 = 10;
const FUNCTION: u32 = 12;
const PROTOTYPE: u32 = 13;

/// Arguments that are passed in registers and can be read by a probe.
const IN_REGISTERS: usize = 5;

/// A function, and which of its arguments (from 0) is the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Takes {
    pub(super) function: String,
    pub(super) argument: u64,
}

/// The functions that are given a pointer to a structure and can be probed, by name.
/// Of two functions of one name only the first is there. Empty without BTF.
pub(super) fn functions_with(structure: &str) -> Vec<Takes> {
    let Some(kernel) = Types::kernel() else { return Vec::new() };
    let mut found = kernel.functions_with(structure, 1);
    let first = kernel.len();
    for module in modules() {
        if let Some(types) = Types::module(&module, &kernel) {
            found.extend(types.functions_with(structure, first));
        }
    }
    let probeable = probeable();
    let mut seen = HashSet::new();
    found.retain(|takes| {
        probeable.as_ref().is_none_or(|names| names.contains(&takes.function))
            && seen.insert(takes.function.clone())
    });
    found.sort_unstable();
    found
}

/// Names of the loaded modules that have types of their own.
fn modules() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/btf").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != "vmlinux").collect()
}

/// What ftrace lets be probed; `None` where it does not say.
fn probeable() -> Option<HashSet<String>> {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let read =
        |place| std::fs::read_to_string(Path::new(place).join("available_filter_functions")).ok();
    let text = places.into_iter().find_map(read)?;
    Some(text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
}

/// Types as libbpf reads them; a module's build on the kernel's, which have to outlive them.
struct Types(NonNull<sys::btf>);

impl Types {
    fn kernel() -> Option<Self> {
        // SAFETY: takes nothing; gives types of ours, or NULL.
        NonNull::new(unsafe { sys::btf__load_vmlinux_btf() }).map(Self)
    }

    fn module(name: &str, kernel: &Self) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: the name ends in NUL; `kernel` outlives what is made here, as the only
        // caller sees to.
        NonNull::new(unsafe { sys::btf__load_module_btf(name.as_ptr(), kernel.0.as_ptr()) })
            .map(Self)
    }

    fn len(&self) -> u32 {
        // SAFETY: the pointer is valid as long as `self`.
        unsafe { sys::btf__type_cnt(self.0.as_ptr()) }
    }

    /// A type by its number; none where the number is out of range.
    fn get(&self, id: u32) -> Option<&sys::btf_type> {
        // SAFETY: libbpf checks the number; what it points to lives as long as `self`.
        unsafe { sys::btf__type_by_id(self.0.as_ptr(), id).as_ref() }
    }

    fn name(&self, offset: u32) -> Option<&CStr> {
        // SAFETY: libbpf checks the offset; strings of BTF end in NUL and live as long as `self`.
        unsafe {
            let text = sys::btf__name_by_offset(self.0.as_ptr(), offset);
            (!text.is_null()).then(|| CStr::from_ptr(text))
        }
    }

    /// Types that a type is made of, by its own number.
    fn inner(kind: &sys::btf_type) -> u32 {
        // SAFETY: both members of the union are numbers of the same size.
        unsafe { kind.__bindgen_anon_1.type_ }
    }

    fn functions_with(&self, structure: &str, first: u32) -> Vec<Takes> {
        let function = |id| {
            let kind = self.get(id).filter(|kind| kind_of(kind) == FUNCTION)?;
            let argument = self.argument(Self::inner(kind), structure)?;
            let function = self.name(kind.name_off)?.to_str().ok()?.to_owned();
            Some(Takes { function, argument: argument as u64 })
        };
        (first..self.len()).filter_map(function).collect()
    }

    /// Which argument of a prototype points to the structure.
    fn argument(&self, prototype: u32, structure: &str) -> Option<usize> {
        let kind = self.get(prototype).filter(|kind| kind_of(kind) == PROTOTYPE)?;
        let count = (kind.info & 0xffff) as usize;
        // SAFETY: the arguments of a prototype follow it, as many as it says; libbpf has
        // checked that they lie within the types.
        let arguments = unsafe {
            let begin = std::ptr::from_ref(kind).add(1).cast::<sys::btf_param>();
            std::slice::from_raw_parts(begin, count)
        };
        let points = |argument: &sys::btf_param| self.points_to(argument.type_, structure);
        arguments.iter().take(IN_REGISTERS).position(points)
    }

    fn points_to(&self, id: u32, structure: &str) -> bool {
        let Some(pointer) = self.get(id).filter(|kind| kind_of(kind) == POINTER) else {
            return false;
        };
        let mut target = self.get(Self::inner(pointer));
        while let Some(kind) = target.filter(|kind| kind_of(kind) == CONST) {
            target = self.get(Self::inner(kind));
        }
        target.is_some_and(|kind| {
            kind_of(kind) == STRUCT
                && self
                    .name(kind.name_off)
                    .is_some_and(|name| name.to_bytes() == structure.as_bytes())
        })
    }
}

impl Drop for Types {
    fn drop(&mut self) {
        // SAFETY: made by libbpf for us, and freed once.
        unsafe { sys::btf__free(self.0.as_ptr()) };
    }
}

/// `BTF_INFO_KIND`.
fn kind_of(kind: &sys::btf_type) -> u32 {
    (kind.info >> 24) & 0x1f
}

#[cfg(test)]
mod tests {
    use taproot_testkit::need;

    use super::*;

    #[test]
    fn this_kernels_functions_are_known_with_the_argument() {
        need!(Path::new("/sys/kernel/btf/vmlinux").exists(), "the kernel has no BTF");
        let types = Types::kernel().expect("BTF");
        let found = types.functions_with("sk_buff", 1);
        let argument = |name: &str| {
            let of = |takes: &&Takes| takes.function == name;
            found.iter().find(of).map(|takes| takes.argument)
        };
        // Exported, and the same for many years.
        assert_eq!(argument("ip_rcv"), Some(0));
        assert_eq!(argument("tcp_v4_do_rcv"), Some(1));
        assert_eq!(argument("inet_accept"), None, "is given no packet");
        assert!(found.len() > 500, "{}", found.len());
        assert!(types.functions_with("no_such_structure", 1).is_empty());
    }
}
