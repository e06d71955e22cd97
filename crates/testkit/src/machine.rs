//! Questions to the machine a test runs on.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where servers and network tools live when `PATH` of a plain user omits them.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether the effective user is root.
///
/// Read from `/proc/self/status`; a machine without `/proc` counts as "no".
pub fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| effective_uid(&status) == Some(0))
}

/// The effective user id of a `/proc/<pid>/status` text.
fn effective_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

/// The kernel series ("6.1", "6.12") when the test runs in a guest of
/// `cargo xtask test`, `None` on the machine itself.
pub fn guest_kernel() -> Option<String> {
    env::var("TAPROOT_GUEST").ok()
}

/// The full path of an installed command, looked up in `PATH` and then in the
/// usual system folders.
pub fn command_path(name: &str) -> Option<PathBuf> {
    let user = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&user)
        .chain(env::split_paths(SYSTEM_PATH))
        .map(|folder| folder.join(name))
        .find(|path| is_executable(path))
}

/// Those of the named commands that are not installed, in the order given.
pub fn missing_commands<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| command_path(name).is_none()).collect()
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_effective_not_the_real_uid() {
        assert_eq!(effective_uid("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(0));
        assert_eq!(effective_uid("Name:\tx\nUid:\t0\t1000\t0\t0\n"), Some(1000));
        assert_eq!(effective_uid("Name:\tx\n"), None);
    }

    #[test]
    fn finds_a_shell_and_no_nonsense() {
        assert!(command_path("sh").is_some());
        assert_eq!(missing_commands(&["sh", "no-such-command-here"]), ["no-such-command-here"]);
    }

    #[test]
    fn a_folder_or_plain_file_is_no_command() {
        assert!(!is_executable(Path::new("/etc")));
        assert!(!is_executable(Path::new("/etc/passwd")));
    }
}
