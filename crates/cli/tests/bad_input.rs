//! Wrong input gets a clear error that says what to do: no panic, nothing lost.

mod common;

use common::{run, text};

/// Runs it, and checks that it fails with a message that holds all of `hints`.
fn refused(args: &[&str], hints: &[&str]) {
    let output = run(args);
    let (stdout, stderr) = text(&output);
    assert!(!output.status.success(), "{args:?} was accepted: {stdout}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    for hint in hints {
        assert!(stderr.contains(hint), "{args:?}: no `{hint}` in: {stderr}");
    }
}

#[test]
fn flags_that_make_no_sense() {
    refused(&["record", "/nonexistent/x", "--scope", "shop"], &["namespace:NAME", "cgroup:/PATH"]);
    refused(&["map", "--for", "5 parsecs"], &["250ms, 30s"]);
    refused(&["record", "x", "--ring", "12XB"], &["64KiB"]);
    refused(&["lab", "run", "noisy-neighbor"], &["noisy-neighbour"]);
    refused(&["lab", "run"], &["--all"]);
    refused(&["map", "--replay", "a", "--store", "b"], &["cannot be used with"]);
    refused(&["daignose"], &["diagnose"]);
    refused(&["requests", "--status", "9xx"], &["5xx", ">=400"]);
    refused(&["requests", "--latency", ">soon"], &["250ms"]);
    refused(&["requests", "--follow", "--watch"], &["cannot be used with"]);
    refused(&["top", "--sort", "size"], &["coverage"]);
    refused(&["run", "--otlp-endpoint", "collector:4317"], &["http://HOST:4318"]);
}

#[test]
fn files_that_are_not_what_they_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    refused(&["diagnose", "--replay", &path("none.rec")], &["none.rec"]);
    std::fs::write(path("text.rec"), "not a recording at all, only text\n").unwrap();
    refused(&["map", "--replay", &path("text.rec")], &["text.rec"]);
    std::fs::write(path("empty"), "").unwrap();
    refused(&["flows", "--store", &path("empty")], &["empty"]);
    refused(&["logs", "patterns", &path("no.log")], &["no.log"]);
    refused(&["eval", "all", &path("")], &["sockshop1.tar.xz", "none of the sets"]);
}

#[test]
fn a_lab_that_is_not_there() {
    refused(&["map", "--lab", "nosuchlab"], &["nosuchlab"]);
    refused(&["lab", "fault", "oom-kill", "--name", "nosuchlab"], &["lab up"]);
    refused(&["lab", "up", "--name", "Not A Name"], &["a-z"]);
}

#[test]
fn logs_of_any_bytes_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bytes.log").display().to_string();
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
    std::fs::write(&path, bytes).unwrap();
    let output = run(&["logs", "patterns", &path]);
    assert!(output.status.success(), "{:?}", text(&output));
}

/// A gigabyte without a line's end, within a quarter of that.
#[test]
fn a_line_of_a_gigabyte_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.log");
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let limited = "ulimit -v 262144; exec \"$0\" logs patterns -o json \"$1\"";
    let output = std::process::Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_taproot")])
        .arg(&path)
        .output()
        .expect("sh runs");
    assert!(output.status.success(), "{:?}", text(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["lines"], &found["cut"]), (&1.into(), &1.into()));
}

#[test]
fn help_completions_and_man_pages_come_from_the_flags() {
    for args in [&["--help"][..], &["diagnose", "--help"], &["completions", "bash"]] {
        let output = run(args);
        assert!(output.status.success() && output.stdout.len() > 200, "{args:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man").display().to_string();
    assert!(run(&["man", &folder]).status.success());
    assert!(common::exists(dir.path().join("man/taproot-diagnose.1")));
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    // The reader has gone before a word was written: more than that no machine can be late.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_taproot"))
        .args(["completions", "zsh"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
