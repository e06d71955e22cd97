//! The judge: real faults in the lab, diagnosed live, compared with the lab's truth.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{Running, Shop, eventually, run, text};
use taproot_model::{Signal, Span, Timestamp};
use taproot_store::{SqliteStore, Store};
use taproot_testkit::{guest_kernel, need, need_commands, need_root, skip};

/// Runs faults and demands that every verdict is right.
fn all_right(faults: &[&str]) {
    let slow = guest_kernel().is_some();
    let (healthy, time) = if slow { ("20s", "40s") } else { ("12s", "25s") };
    let mut args = vec!["lab", "run", "-o", "json", "--name", "judge"];
    args.extend(["--healthy", healthy, "--time", time]);
    if slow {
        // An emulated CPU does not sustain the usual load.
        args.extend(["--rps", "5", "--burn", "0.5ms"]);
    }
    args.extend(faults);
    let output = run(&args);
    let (stdout, stderr) = text(&output);
    let last = stdout.lines().last().unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(last)
        .unwrap_or_else(|e| panic!("no summary line ({e}): {stdout}{stderr}"));
    assert_eq!(summary["runs"], faults.len(), "{stdout}{stderr}");
    assert!(output.status.success(), "{:#}\n{stdout}{stderr}", summary["wrong"]);
}

#[test]
fn faults_are_named_with_class_and_culprit() {
    need_root!();
    need_commands!("ip", "nft");
    // One fault of each family, to keep the time of a test run; all of them, three
    // times: `taproot lab run --all --repeat 3`.
    if guest_kernel().is_some() {
        // The light load that an emulated core carries has no neighbour to suffer from.
        // With time counted in instructions all faults are right there, see CONTRIBUTING.md.
        all_right(&["connection-refused", "oom-kill"]);
    } else {
        all_right(&["healthy", "noisy-neighbour", "connection-refused", "oom-kill", "wrong-route"]);
    }
}

#[test]
fn the_map_is_the_labs_own_list() {
    need_root!();
    need!(
        guest_kernel().is_none(),
        "on an emulated CPU names may come later than the pods that live for seconds"
    );
    need_commands!("ip", "nft");
    let shop = match Shop::up("topology", &["--extras"]) {
        Ok(shop) => shop,
        Err(why) => skip!("no lab here: {why}"),
    };
    let output = run(&["flows", "-o", "json", "--lab", &shop.name, "--for", "40s"]);
    let (stdout, stderr) = text(&output);
    let view: serde_json::Value =
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}"));
    let mut seen: Vec<(String, String)> = view["flows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            let name = |end: &str| f[end]["instance"].as_str().unwrap().to_owned();
            (name("client"), name("server"))
        })
        // Readiness probes, and calls whose sender a masquerade hides, come from the
        // node: the calling pod's own end tells who it was.
        .filter(|(client, _)| client != "lab-node")
        .collect();
    // A pod that was gone before the first look, or came with the last, need not have
    // been seen; whatever was seen must be true.
    let look = |end: &str| view["span"][end].as_u64().unwrap();
    let (first, last) = (look("from") + 1_000_000_000, look("to") - 8_000_000_000);
    let lab = shop.truth();
    let lived = |name: &str| {
        lab.pod(name).is_some_and(|p| {
            p.started_unix_ns > 0
                && p.started_unix_ns < last
                && p.ended_unix_ns.is_none_or(|end| end > first)
        })
    };
    let mut truth: Vec<(String, String)> =
        lab.edges.iter().map(|e| (e.caller.clone(), e.callee.clone())).collect();
    for list in [&mut seen, &mut truth] {
        list.sort();
        list.dedup();
    }
    let invented: Vec<_> = seen.iter().filter(|edge| !truth.contains(edge)).collect();
    assert!(invented.is_empty(), "seen, but not true: {invented:?}");
    let missed: Vec<_> =
        truth.iter().filter(|edge| lived(&edge.0) && !seen.contains(edge)).collect();
    assert!(missed.is_empty(), "true, but not seen: {missed:?} of {seen:?}");
}

#[test]
fn running_out_of_files_is_announced_a_minute_ahead() {
    need_root!();
    need!(guest_kernel().is_none(), "takes four minutes; runs on the host's kernel");
    need_commands!("ip", "nft");
    let shop = match Shop::up("files", &[]) {
        Ok(shop) => shop,
        Err(why) => skip!("no lab here: {why}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("t.db").display().to_string();
    let args = ["run", "--lab", &shop.name, "--store", &store, "--listen", "127.0.0.1:0"];
    let mut taproot = Running::start(&args, Stdio::null());
    std::thread::sleep(Duration::from_secs(15));
    // 256 files, about 40 of them in use, at two a second: not quite two minutes.
    let injected = run(&["lab", "fault", "fd-exhaustion", "per_second=2", "--name", &shop.name]);
    assert!(injected.status.success(), "{:?}", text(&injected));
    let pods = || shop.truth().pod("product").unwrap().restarts;
    eventually(Duration::from_mins(5), "product dies of the leak", || pods() > 0);
    std::thread::sleep(Duration::from_secs(10));
    taproot.signal("-INT");
    assert!(taproot.wait(Duration::from_secs(10)).success());
    let kept = SqliteStore::open_read_only(dir.path().join("t.db").as_path()).unwrap();
    let first_failure = first_emfile(&kept);
    let announced = announced(&kept);
    let ahead = first_failure.since(announced);
    assert!(ahead >= Duration::from_mins(1), "announced {ahead:?} before the first EMFILE");
}

/// Time of the first accept or open that failed for want of a descriptor.
fn first_emfile(store: &SqliteStore) -> Timestamp {
    let mut first = None;
    let all = Span::new(Timestamp(0), Timestamp(u64::MAX / 2));
    store
        .read(all, &mut |signal| {
            if let Signal::SyscallFailure(failure) = signal
                && failure.errno.as_str() == "EMFILE"
            {
                first = Some(first.map_or(failure.at, |f: Timestamp| f.min(failure.at)));
            }
        })
        .unwrap();
    first.expect("an EMFILE was counted")
}

/// Time of the first report on it.
fn announced(store: &SqliteStore) -> Timestamp {
    let all = Span::new(Timestamp(0), Timestamp(u64::MAX / 2));
    let heads = store.list_reports(all).unwrap();
    let about = heads.iter().filter(|h| h.id.contains("fd-exhaustion"));
    about.map(|h| h.at).min().unwrap_or_else(|| panic!("no report on it, only {heads:?}"))
}
