//! The kernel modules a guest gets: networking, with all they depend on.
//!
//! The whole tree would triple the guest's image. Modules are stored
//! decompressed, because decompressing in an emulated guest costs more than
//! reading; the guest loads them on demand with busybox's modprobe.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, files};

/// Folders of `kernel/` whose modules are taken (without sub-folders).
const FOLDERS: [&str; 17] = [
    "net/8021q",
    "net/802",
    "net/bridge",
    "net/bridge/netfilter",
    "net/core",
    "net/ipv4",
    "net/ipv4/netfilter",
    "net/ipv6",
    "net/ipv6/netfilter",
    "net/llc",
    "net/netfilter",
    "net/netlink",
    "net/packet",
    "net/sched",
    "net/tls",
    "net/unix",
    "fs/overlayfs",
];

/// Single modules taken from elsewhere.
const SINGLES: [&str; 6] = ["dummy", "ifb", "macvlan", "tun", "veth", "vxlan"];

/// Copies the chosen modules from an unpacked kernel package to
/// `target/lib/modules/<release>` and indexes them for modprobe.
pub(crate) fn install(package: &Path, release: &str, target: &Path) -> Result<()> {
    let source = ["lib", "usr/lib"]
        .map(|lib| package.join(lib).join("modules").join(release))
        .into_iter()
        .find(|folder| folder.is_dir())
        .context("the package holds no modules")?;
    let target_modules = target.join("lib/modules").join(release);
    let available = index(&source)?;
    let mut queue: Vec<String> = available
        .iter()
        .filter(|(name, path)| is_wanted(name, path))
        .map(|(n, _)| n.clone())
        .collect();
    let mut done = BTreeMap::new();
    while let Some(name) = queue.pop() {
        // A dependency that is not a file is built into this kernel.
        let Some(path) = available.get(&name).filter(|_| !done.contains_key(&name)) else {
            continue;
        };
        let object = read(&source.join(path))?;
        queue.extend(dependencies(&object));
        let plain = target_modules.join(without_compression(path));
        fs::create_dir_all(plain.parent().unwrap_or(&target_modules))?;
        fs::write(&plain, object)?;
        done.insert(name, plain);
    }
    for list in ["modules.builtin", "modules.order"] {
        fs::copy(source.join(list), target_modules.join(list)).context(list)?;
    }
    command::output(Command::new("busybox").args(["depmod", "-b"]).arg(target).arg(release))?;
    Ok(())
}

/// All modules of a tree: canonical name to path relative to the tree.
fn index(tree: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for path in files::walk(tree)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((stem, _)) = file.split_once(".ko") {
            found.insert(canonical(stem), path.strip_prefix(tree)?.to_path_buf());
        }
    }
    Ok(found)
}

fn is_wanted(name: &str, path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.strip_prefix("kernel").ok());
    SINGLES.contains(&name)
        || folder.is_some_and(|folder| FOLDERS.iter().any(|wanted| folder == Path::new(wanted)))
}

/// The kernel treats dash and underscore in module names as the same letter.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn without_compression(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "ko") {
        path.to_path_buf()
    } else {
        path.with_extension("")
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => Ok(fs::read(path)?),
        Some("xz") => {
            let output = Command::new("xz").arg("-dc").arg(path).output().context("xz")?;
            anyhow::ensure!(output.status.success(), "xz -dc {} failed", path.display());
            Ok(output.stdout)
        }
        _ => bail!("{}: unknown compression of kernel modules", path.display()),
    }
}

/// The modules that a module names in its `.modinfo` section ("depends=a,b",
/// zero-terminated).
fn dependencies(object: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = object.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = &object[start + KEY.len()..];
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let list = String::from_utf8_lossy(&value[..end]);
    list.split(',').filter(|name| !name.is_empty()).map(canonical).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_modinfo() {
        let object = b"ELF..license=GPL\0depends=nf_conntrack,nf-tables\0name=nft_ct\0";
        assert_eq!(dependencies(object), ["nf_conntrack", "nf_tables"]);
        assert!(dependencies(b"x\0depends=\0").is_empty());
        assert!(dependencies(b"no section").is_empty());
    }

    #[test]
    fn folders_are_taken_without_their_children() {
        assert!(is_wanted("nf_nat", Path::new("kernel/net/netfilter/nf_nat.ko")));
        assert!(!is_wanted("ip_vs", Path::new("kernel/net/netfilter/ipvs/ip_vs.ko")));
        assert!(is_wanted("veth", Path::new("kernel/drivers/net/veth.ko.xz")));
    }

    #[test]
    fn compression_is_dropped_from_the_name() {
        assert_eq!(without_compression(Path::new("a/b.ko.xz")), Path::new("a/b.ko"));
        assert_eq!(without_compression(Path::new("a/b.ko")), Path::new("a/b.ko"));
    }
}
