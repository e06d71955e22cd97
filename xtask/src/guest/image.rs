//! The guest's root file system, as an initramfs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::Writer;
use super::kernel::Kernel;
use crate::{command, files};

/// The first program of the guest.
const INIT: &str = include_str!("init.sh");

/// Dynamic programs of the host that live tests and the lab use, where installed.
const TOOLS: [&str; 33] = [
    "ab",
    "bash",
    "bridge",
    "conntrack",
    "curl",
    "dig",
    "dnsmasq",
    "dnsperf",
    "ethtool",
    "gnutls-cli",
    "h2load",
    "ip",
    "iptables",
    "iptables-legacy",
    "iptables-legacy-save",
    "iptables-nft-save",
    "iptables-restore",
    "iptables-save",
    "memcached",
    "mosquitto",
    "mosquitto_pub",
    "mosquitto_sub",
    "nats-server",
    "nft",
    "nghttpx",
    "nginx",
    "openssl",
    "redis-benchmark",
    "redis-cli",
    "redis-server",
    "ss",
    "sysctl",
    "tc",
];

/// Folders that those programs open by themselves at run time.
const TOOL_DATA: [&str; 5] = [
    "/etc/nginx",
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/share/iproute2",
    "/etc/iproute2",
    "/usr/lib/x86_64-linux-gnu/tc",
];

/// Loaded by nginx; unlike the plug-ins above, these are linked to more than nginx is.
const NGINX_MODULES: &str = "/usr/lib/nginx/modules";

/// Plain files that they read.
const TOOL_FILES: [&str; 3] = ["/etc/protocols", "/etc/services", "/usr/lib/ssl/openssl.cnf"];

/// A file system under construction. Paths are absolute as the guest sees them.
#[derive(Debug, Default)]
pub(crate) struct Image {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
enum Entry {
    Directory,
    Link(String),
    Text { content: String, mode: u32 },
    Copy { host: PathBuf, mode: u32 },
    Device(u32, u32),
}

impl Image {
    /// Busybox, init, the kernel's modules and the host's network tools.
    pub(crate) fn base(kernel: &Kernel) -> Result<Self> {
        let mut image = Self::default();
        for merged in ["bin", "sbin", "lib", "lib64"] {
            image.link(&Path::new("/").join(merged), &format!("usr/{merged}"));
            image.directory(&Path::new("/usr").join(merged));
        }
        for folder in ["dev", "proc", "sys", "tmp", "run", "root", "etc", "taproot"] {
            image.directory(&Path::new("/").join(folder));
        }
        for folder in ["/var/log/nginx", "/var/lib/nginx", "/var/www", "/var/lib/redis"] {
            image.directory(Path::new(folder));
        }
        image.insert(Path::new("/dev/console"), Entry::Device(5, 1));
        image.text("/init", INIT, 0o755);
        image.text("/etc/passwd", PASSWD, 0o644);
        image.text("/etc/group", GROUP, 0o644);
        image.text("/etc/hosts", "127.0.0.1 localhost\n", 0o644);
        image.link(Path::new("/var/run"), "/run");
        image.busybox()?;
        image.tree(&kernel.modules(), Path::new("/"))?;
        image.tools()?;
        Ok(image)
    }

    /// A file with the given text.
    pub(crate) fn text(&mut self, guest: &str, content: &str, mode: u32) {
        self.insert(Path::new(guest), Entry::Text { content: content.to_owned(), mode });
    }

    /// A file of the host with its mode.
    pub(crate) fn copy(&mut self, host: &Path, guest: &Path) -> Result<()> {
        let meta = fs::metadata(host).with_context(|| host.display().to_string())?;
        let entry = Entry::Copy { host: host.to_path_buf(), mode: meta.permissions().mode() };
        self.insert(guest, entry);
        Ok(())
    }

    /// A program of the host at the given place, and the libraries it is linked to.
    pub(crate) fn program(&mut self, host: &Path, guest: &Path) -> Result<()> {
        self.copy(host, guest)?;
        for library in libraries(host) {
            self.copy(&library, &library)?;
        }
        Ok(())
    }

    /// All files beneath a folder of the host, symbolic links resolved.
    pub(crate) fn tree(&mut self, host: &Path, guest: &Path) -> Result<()> {
        for path in files::walk(host)? {
            self.copy(&path, &guest.join(path.strip_prefix(host)?))?;
        }
        Ok(())
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, guest: &Path, target: &str) {
        self.insert(guest, Entry::Link(target.to_owned()));
    }

    /// A folder, with its parents.
    pub(crate) fn directory(&mut self, guest: &Path) {
        self.insert(guest, Entry::Directory);
    }

    /// Writes the archive.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut out = Writer::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
        for (guest, entry) in &self.entries {
            let name = guest.strip_prefix("/").unwrap_or(guest).to_string_lossy();
            match entry {
                Entry::Directory => out.directory(&name)?,
                Entry::Link(target) => out.symlink(&name, target)?,
                Entry::Text { content, mode } => out.file(&name, *mode, content.as_bytes())?,
                Entry::Device(major, minor) => out.device(&name, (*major, *minor))?,
                Entry::Copy { host, mode } => {
                    let content = fs::read(host).with_context(|| host.display().to_string())?;
                    out.file(&name, *mode, &content)?;
                }
            }
        }
        out.finish()?;
        Ok(())
    }

    /// Busybox and a link for each of its commands, in a folder that comes last
    /// in `PATH`, so that a real tool is preferred where there is one.
    fn busybox(&mut self) -> Result<()> {
        let host = command::installed("busybox").context("busybox is not installed")?;
        self.copy(&host, Path::new("/usr/bin/busybox"))?;
        let applets = command::output(Command::new(&host).arg("--list"))?;
        for applet in applets.lines() {
            self.link(&Path::new("/opt/busybox").join(applet), "/usr/bin/busybox");
        }
        // Not busybox's shell: that prefers its own `ip` to the real one.
        let shell = fs::canonicalize("/bin/sh").context("/bin/sh")?;
        self.program(&shell, Path::new("/usr/bin/sh"))?;
        // Where the kernel looks when it wants a module.
        self.link(Path::new("/usr/sbin/modprobe"), "/usr/bin/busybox");
        Ok(())
    }

    fn tools(&mut self) -> Result<()> {
        for tool in TOOLS {
            if let Some(path) = command::installed(tool) {
                self.program(&path, &path)?;
            }
        }
        for folder in TOOL_DATA.map(Path::new).iter().filter(|folder| folder.is_dir()) {
            self.tree(folder, folder)?;
        }
        if Path::new(NGINX_MODULES).is_dir() {
            for path in files::walk(Path::new(NGINX_MODULES))? {
                self.program(&path, &path)?;
            }
            self.link(Path::new("/usr/share/nginx/modules"), NGINX_MODULES);
        }
        for file in TOOL_FILES.map(Path::new).iter().filter(|file| file.is_file()) {
            self.copy(file, file)?;
        }
        Ok(())
    }

    /// Adds an entry and the folders above it.
    fn insert(&mut self, guest: &Path, entry: Entry) {
        let guest = merged(guest);
        for parent in guest.ancestors().skip(1).filter(|parent| parent.parent().is_some()) {
            self.entries.entry(parent.to_path_buf()).or_insert(Entry::Directory);
        }
        self.entries.insert(guest, entry);
    }
}

/// The place of a path on a system whose /bin, /sbin and /lib are links to /usr.
fn merged(path: &Path) -> PathBuf {
    let inside = ["bin", "sbin", "lib", "lib64"]
        .into_iter()
        .any(|top| path.strip_prefix(Path::new("/").join(top)).is_ok_and(|r| r != Path::new("")));
    match path.strip_prefix("/") {
        Ok(relative) if inside => Path::new("/usr").join(relative),
        _ => path.to_path_buf(),
    }
}

/// Shared libraries of a program or library; none for a static one.
fn libraries(path: &Path) -> Vec<PathBuf> {
    let listing = Command::new("ldd").arg(path).output();
    listing.map(|out| library_paths(&String::from_utf8_lossy(&out.stdout))).unwrap_or_default()
}

/// The absolute paths that `ldd` prints, with or without "name =>" before them.
fn library_paths(listing: &str) -> Vec<PathBuf> {
    listing
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .collect()
}

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
redis:x:103:106:redis:/var/lib/redis:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
";

const GROUP: &str = "root:x:0:\nadm:x:4:\nwww-data:x:33:\nredis:x:106:\nnogroup:x:65534:\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_old_layout_move_below_usr() {
        assert_eq!(merged(Path::new("/bin/ip")), Path::new("/usr/bin/ip"));
        assert_eq!(merged(Path::new("/lib64/ld.so")), Path::new("/usr/lib64/ld.so"));
        assert_eq!(merged(Path::new("/lib")), Path::new("/lib"));
        assert_eq!(merged(Path::new("/library/x")), Path::new("/library/x"));
    }

    #[test]
    fn parents_come_into_being_and_before_children() {
        let mut image = Image::default();
        image.text("/a/b/c", "x", 0o644);
        let paths: Vec<_> = image.entries.keys().map(|path| path.display().to_string()).collect();
        assert_eq!(paths, ["/a", "/a/b", "/a/b/c"]);
    }

    #[test]
    fn a_parent_that_is_a_link_is_kept() {
        let mut image = Image::default();
        image.link(Path::new("/bin"), "usr/bin");
        image.text("/bin/tool", "x", 0o755);
        assert!(matches!(image.entries[Path::new("/bin")], Entry::Link(_)));
        assert!(image.entries.contains_key(Path::new("/usr/bin/tool")));
    }

    #[test]
    fn ldd_lines_give_their_paths() {
        let shell = fs::canonicalize("/bin/sh").expect("a shell");
        let listing = format!(
            "\tlinux-vdso.so.1 (0x7ffc)\n\tlibc.so.6 => {} (0x7f)\n\tstatically linked\n",
            shell.display()
        );
        assert_eq!(library_paths(&listing), [shell]);
    }
}
