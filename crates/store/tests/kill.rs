//! kill -9 at any moment: no acknowledged row is lost, none is counted twice,
//! and the file is sound.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

mod common;

use common::{START, all, flow};
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use taproot_model::{Signal, Timestamp};
use taproot_store::{Durability, Retention, SqliteStore, Store, StoreOptions};
use tempfile::TempDir;

const BATCH: u64 = 20;
const ROUNDS: u32 = 60;

/// In the child: the folder to write in. Its own test, without it, writes a few batches.
const FOLDER: &str = "TAPROOT_TEST_KILL_FOLDER";

/// Roll-ups begin after 2 s of signal time, so that kills hit them too.
fn options(durability: Durability) -> StoreOptions {
    let retention = Retention {
        fine: Duration::from_secs(2),
        middle: Duration::from_secs(20),
        ..Retention::default()
    };
    StoreOptions { retention, durability }
}

/// Batch `n`: its signals carry its number, 100 ms of signal time after the last.
fn batch(n: u64) -> (Timestamp, Vec<Signal>) {
    let at = Timestamp(START + n * 100_000_000);
    (at, (0..BATCH).map(|_| flow(at, n)).collect())
}

/// Appends batches and writes each one's number down once it is acknowledged.
fn write(folder: &Path, durability: Durability, batches: u64) {
    let mut store = SqliteStore::open(&folder.join("db"), options(durability)).unwrap();
    let first = store.stats().unwrap().appended / BATCH;
    let mut acknowledged =
        OpenOptions::new().create(true).append(true).open(folder.join("acknowledged")).unwrap();
    for n in first..first.saturating_add(batches) {
        let (at, signals) = batch(n);
        assert_eq!(store.append(&signals).unwrap().signals, BATCH);
        acknowledged.write_all(format!("{n}\n").as_bytes()).unwrap();
        store.maintain(at).unwrap();
    }
}

/// Checks the file against the acknowledgements; returns how many batches it holds.
fn check(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("acknowledged")).unwrap_or_default();
    let acknowledged: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(acknowledged.is_sorted(), "batches are written in order");
    let path = folder.join("db");
    if !path.exists() {
        assert!(acknowledged.is_empty());
        return 0;
    }
    let store = SqliteStore::open(&path, options(Durability::Process)).unwrap();
    let stats = store.stats().unwrap();
    let batches = stats.appended / BATCH;
    assert_eq!(stats.appended % BATCH, 0, "a batch is whole or not there");
    assert!(
        acknowledged.last().is_none_or(|&last| last < batches),
        "an acknowledged batch is lost"
    );
    let mut bytes = 0;
    store
        .read(all(), &mut |s| bytes += if let Signal::Flow(f) = s { f.tx_bytes } else { 0 })
        .unwrap();
    assert_eq!(bytes, (0..batches).sum::<u64>() * BATCH, "rows are lost or counted twice");
    drop(store);
    let db = rusqlite::Connection::open(&path).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    batches
}

#[test]
fn acknowledged_batches_are_kept() {
    if let Some(folder) = env::var_os(FOLDER) {
        write(Path::new(&folder), Durability::Process, u64::MAX);
        return;
    }
    for durability in [Durability::Process, Durability::Power] {
        let folder = TempDir::new().unwrap();
        write(folder.path(), durability, 300);
        assert_eq!(check(folder.path()), 300);
    }
}

#[test]
fn kill_9_at_any_time_loses_no_acknowledged_row() {
    let folder = TempDir::new().unwrap();
    let mut before = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "acknowledged_batches_are_kept"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        thread::sleep(moment(round));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        let said = fs::read_to_string(folder.path().join("stderr")).unwrap();
        assert_eq!(ended.code(), None, "the child ended by itself: {said}");
        let now = check(folder.path());
        assert!(now >= before);
        before = now;
    }
    assert!(before > u64::from(ROUNDS), "the child hardly wrote: {before} batches");
    println!("{ROUNDS} kills, {before} batches of {BATCH} signals, none lost");
}

/// Between 1 and 100 ms: in the first rounds while the file is being made.
fn moment(round: u32) -> Duration {
    let noise = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let longest = 10 + 3 * round.min(30);
    Duration::from_micros(u64::from(1000 + noise % (longest * 1000)))
}
