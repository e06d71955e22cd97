//! Debian's cloud kernels, fetched through apt and unpacked without installing.
//!
//! A kernel is kept in `target/guest/kernels/<series>`; remove that folder to
//! fetch a newer one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::modules;
use crate::command;

/// The kernel series the live tests must hold on, oldest first.
pub(crate) const SERIES: [&str; 2] = ["6.1", "6.12"];

/// An unpacked kernel, ready to boot.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Series as asked for: "6.1".
    pub(crate) series: String,
    /// What `uname -r` says in the guest.
    pub(crate) release: String,
    folder: PathBuf,
}

impl Kernel {
    /// The compressed kernel that QEMU boots.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Folder that holds `lib/modules/<release>`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }

    /// A kernel that is only talked about.
    #[cfg(test)]
    pub(crate) fn named(series: &str, release: &str) -> Self {
        Self { series: series.into(), release: release.into(), folder: PathBuf::new() }
    }

    /// A kernel of the series, from the cache or from apt.
    pub(crate) fn prepare(series: &str) -> Result<Self> {
        // Guests start side by side, and apt takes locks.
        static APT: Mutex<()> = Mutex::new(());
        let _one = APT.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = command::target_dir().join("guest/kernels");
        let folder = kernels.join(series);
        if let Ok(release) = fs::read_to_string(folder.join("release")) {
            return Ok(Self { series: series.to_owned(), release, folder });
        }
        let package = newest_package(series)?;
        let scratch = kernels.join(format!("{series}.partial"));
        remove(&scratch)?;
        fs::create_dir_all(&scratch)?;
        let release = unpack(&package, &scratch).with_context(|| format!("package {package}"))?;
        remove(&folder)?;
        fs::rename(&scratch, &folder)?;
        Ok(Self { series: series.to_owned(), release, folder })
    }
}

/// Fetches and unpacks a kernel package; returns its release.
fn unpack(package: &str, folder: &Path) -> Result<String> {
    command::output(Command::new("apt-get").args(["-q", "download", package]).current_dir(folder))?;
    let archive = single_file(folder, "deb")?;
    let raw = folder.join("raw");
    command::output(Command::new("dpkg").arg("-x").arg(&archive).arg(&raw))?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    fs::rename(raw.join(format!("boot/vmlinuz-{release}")), folder.join("vmlinuz"))?;
    modules::install(&raw, &release, &folder.join("modules"))?;
    fs::remove_dir_all(&raw)?;
    fs::remove_file(&archive)?;
    // Written last: it marks the folder as complete.
    fs::write(folder.join("release"), &release)?;
    Ok(release)
}

/// The newest cloud kernel of a series that apt can fetch.
fn newest_package(series: &str) -> Result<String> {
    if let Some(package) = newest(&packages(series)?, series) {
        return Ok(package);
    }
    // A fresh container image carries no package lists. Without root this
    // fails, and the message below is the one that helps.
    let updated = command::output(Command::new("apt-get").args(["-q", "update"]));
    match (newest(&packages(series)?, series), updated) {
        (Some(package), _) => Ok(package),
        (None, Ok(_)) => bail!(
            "apt offers no linux-image-{series}.*-cloud-amd64 (Debian 12 has 6.1 and 6.12, \
             Debian 13 has 6.12)"
        ),
        (None, Err(error)) => Err(error.context(format!(
            "apt knows no linux-image-{series}.*-cloud-amd64 and its lists could not be updated"
        ))),
    }
}

fn packages(series: &str) -> Result<String> {
    let prefix = format!("linux-image-{series}.");
    command::output(Command::new("apt-cache").args(["pkgnames", &prefix]))
        .context("guests take their kernels from Debian's archive, through apt")
}

/// The highest version among the bootable cloud kernels of a list of names.
fn newest(names: &str, series: &str) -> Option<String> {
    let prefix = format!("linux-image-{series}.");
    names
        .lines()
        .filter(|name| name.starts_with(&prefix) && name.ends_with("-cloud-amd64"))
        .max_by_key(|name| version_key(name))
        .map(str::to_owned)
}

/// All numbers of a name in order: 6.12.9 sorts before 6.12.10.
fn version_key(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn single_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .with_context(|| format!("apt-get left no .{extension} file"))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64\n\
        linux-image-6.1.0-57-cloud-amd64-unsigned\nlinux-image-6.12.9+deb12-cloud-amd64\n\
        linux-image-6.12.117+deb12-cloud-amd64\nlinux-image-6.12.118+deb12-rt-amd64\n";

    #[test]
    fn the_newest_signed_cloud_kernel_wins() {
        assert_eq!(newest(NAMES, "6.1").as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(
            newest(NAMES, "6.12").as_deref(),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
    }

    #[test]
    fn a_series_is_not_a_prefix_of_another() {
        assert_eq!(newest("linux-image-6.12.9-cloud-amd64\n", "6.1"), None);
    }
}
