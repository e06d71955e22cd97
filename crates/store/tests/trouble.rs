//! Bad circumstances: each is a clear error that says what to do, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

mod common;

use common::{all, at, flow};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use taproot_model::Signal;
use taproot_store::recording::{Ending, Header, RecordingReader, RecordingWriter};
use taproot_store::{RecordingError, SqliteStore, Store, StoreError, StoreOptions};
use taproot_testkit::{need, need_commands, need_root};
use tempfile::TempDir;

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, StoreOptions::default())
}

fn count(store: &SqliteStore) -> usize {
    let mut n = 0;
    store.read(all(), &mut |_| n += 1).unwrap();
    n
}

fn batch(n: u64) -> Vec<Signal> {
    (0..50).map(|i| flow(at(n), i)).collect()
}

/// A small file system of its own, gone when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(kib: u32) -> Self {
        let folder = TempDir::new().unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={kib}k"), "taproot-test"], folder.path());
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes all room but `kib`, as another program might.
    fn fill_but(&self, kib: usize) {
        let spare = vec![0; kib << 10];
        fs::write(self.path("spare"), spare).unwrap();
        let filled = fs::write(self.path("filler"), vec![0; 64 << 20]);
        assert!(filled.is_err(), "the disk is not small");
        fs::remove_file(self.path("spare")).unwrap();
    }
}

fn mount(args: &[&str], on: &Path) {
    assert!(Command::new("mount").args(args).arg(on).status().unwrap().success());
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failing test may still hold its store open.
        let quiet =
            Command::new("umount").arg("-l").arg(self.0.path()).stderr(Stdio::null()).status();
        assert!(quiet.is_ok_and(|s| s.success()), "cannot unmount {}", self.0.path().display());
    }
}

#[test]
fn a_full_disk_refuses_whole_batches_until_there_is_room() {
    need_root!();
    need_commands!("mount", "umount");
    let disk = SmallDisk::new(4096);
    let mut store = open(&disk.path("db")).unwrap();
    store.append(&batch(0)).unwrap();
    disk.fill_but(256);
    let mut kept = 1;
    let error = loop {
        match store.append(&batch(kept)) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "the disk never fills");
    };
    assert!(matches!(error, StoreError::StorageFull(_)), "{error:?}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(count(&store), 50 * kept as usize);
    let _ = store.maintain(at(kept));
    assert_eq!(count(&store), 50 * kept as usize);

    fs::remove_file(disk.path("filler")).unwrap();
    store.append(&batch(kept)).unwrap();
    assert_eq!(count(&store), 50 * (kept as usize + 1));
    drop(store);
    let db = rusqlite::Connection::open(disk.path("db")).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
fn a_recording_on_a_full_disk_stays_sound_and_goes_on() {
    need_root!();
    need_commands!("mount", "umount");
    let disk = SmallDisk::new(1024);
    let path = disk.path("r");
    let mut writer = RecordingWriter::create(&path, &Header::default()).unwrap();
    disk.fill_but(64);
    let error = (0..100_000).find_map(|n| writer.write(&batch(n)).err()).unwrap();
    assert!(matches!(error, RecordingError::StorageFull), "{error:?}");
    let kept = writer.signals();
    let mut reader = RecordingReader::open(&path).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).count() as u64, kept);

    fs::remove_file(disk.path("filler")).unwrap();
    writer.write(&batch(1)).unwrap();
    writer.finish().unwrap();
    let mut reader = RecordingReader::open(&path).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).count() as u64, kept + 50);
    assert_eq!(reader.ending(), Some(Ending::Complete { signals: kept + 50 }));
}

#[test]
fn a_store_on_a_full_disk_cannot_be_made_and_says_so() {
    need_root!();
    need_commands!("mount", "umount");
    let disk = SmallDisk::new(512);
    disk.fill_but(8);
    let error = open(&disk.path("db")).unwrap_err();
    assert!(matches!(error, StoreError::StorageFull(_)), "{error:?}");
}

#[test]
fn a_read_only_file_system_can_be_read() {
    need_root!();
    need_commands!("mount", "umount");
    let disk = SmallDisk::new(4096);
    open(&disk.path("db")).unwrap().append(&batch(1)).unwrap();
    mount(&["-o", "remount,ro"], disk.0.path());
    let error = open(&disk.path("db")).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
    assert_eq!(count(&SqliteStore::open_read_only(&disk.path("db")).unwrap()), 50);
}

#[test]
fn without_permission_it_says_so() {
    need!(!taproot_testkit::is_root(), "root may read and write everything");
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let error = open(&folder.path().join("db")).unwrap_err();
    assert!(matches!(error, StoreError::Permission(_)), "{error:?}");
}

#[test]
fn a_second_writer_is_told_who_the_first_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db");
    let first = open(&path).unwrap();
    let text = open(&path).unwrap_err().to_string();
    assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
    drop(first);
    open(&path).unwrap();
}

#[test]
fn a_program_being_started_does_not_keep_the_lock() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let failed = (0..200).find_map(|_| open(&path).err());
        done.store(true, Ordering::Relaxed);
        assert!(failed.is_none(), "{failed:?}");
    });
}

#[test]
fn a_newer_schema_says_upgrade_and_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db");
    open(&path).unwrap().append(&batch(1)).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let own: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    for opened in [open(&path), SqliteStore::open_read_only(&path)] {
        let text = opened.unwrap_err().to_string();
        assert!(text.contains("schema 99") && text.contains("upgrade"), "{text}");
    }
    db.pragma_update(None, "user_version", own).unwrap();
    drop(db);
    assert_eq!(count(&open(&path).unwrap()), 50);
}

#[test]
fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db");
    open(&path).unwrap().append(&batch(1)).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "ALTER TABLE exemplars DROP COLUMN stages; ALTER TABLE exemplars \
         DROP COLUMN origin; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(db);
    assert_eq!(count(&SqliteStore::open_read_only(&path).unwrap()), 50, "as it is");
    let mut store = open(&path).unwrap();
    assert_eq!(count(&store), 50);
    store.append(&common::happenings(common::at(1))).unwrap();
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "hello, this is long enough to be no SQLite file ".repeat(100)).unwrap();
    let other = folder.path().join("other.db");
    let db = rusqlite::Connection::open(&other).unwrap();
    db.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 1").unwrap();
    for path in [text, other] {
        let before = fs::read(&path).unwrap();
        for opened in [open(&path), SqliteStore::open_read_only(&path)] {
            let error = opened.unwrap_err();
            assert!(matches!(error, StoreError::NotAStore(_)), "{error:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_missing_store_is_named_and_not_made_by_readers() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db");
    let error = SqliteStore::open_read_only(&path).unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)), "{error:?}");
    assert!(!path.exists());
}

#[test]
fn a_writer_makes_its_folder_and_keeps_others_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/b/db");
    let mut store = open(&path).unwrap();
    store.append(&batch(1)).unwrap();
    for name in ["db", "db-wal", "db-shm"] {
        let mode = fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is {mode:o}");
    }
}

#[test]
fn a_damaged_page_is_an_error_and_no_panic() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("db");
    let mut store = open(&path).unwrap();
    (0..40).for_each(|n| assert_eq!(store.append(&batch(n)).unwrap().signals, 50));
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let from = 8192;
    for (i, byte) in bytes[from..].iter_mut().enumerate() {
        *byte ^= (i % 251) as u8;
    }
    fs::write(&path, bytes).unwrap();
    let error = open(&path).and_then(|store| store.read(all(), &mut drop)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("move it away"), "{error}");
}
