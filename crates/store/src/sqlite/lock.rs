//! One writer at a time, and its name for the one that comes second.

use crate::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The writer's lock, released when dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would not do: a program that another thread is just
        // starting holds a copy of it until it executes. When unlocking fails,
        // that copy is soon closed all the same.
        let _ = self.0.unlock();
    }
}

/// Takes the writer's lock of the store at `path`: an advisory lock on a file
/// beside it, which the kernel releases however the process ends. The file holds
/// the writer's process id and stays.
pub(super) fn take(path: &Path) -> Result<Lock, StoreError> {
    let beside = lock_path(path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&beside)
        .map_err(|e| StoreError::io(&beside, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = holder(file);
            return Err(StoreError::Locked { path: path.into(), pid });
        }
        Err(TryLockError::Error(e)) => return Err(StoreError::io(&beside, e)),
    }
    sign(&mut file).map_err(|e| StoreError::io(&beside, e))?;
    Ok(Lock(file))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".lock");
    name.into()
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: File) -> String {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    let pid = text.trim();
    if read.is_ok() && !pid.is_empty() { pid.into() } else { "?".into() }
}
