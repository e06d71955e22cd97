//! The readers of public data sets: any text in any of their files gives an error or an
//! answer, and every figure of a score is a number.
//!
//! The first byte chooses the set; the rest is cut at zero bytes, a piece a file.
//!
//! Each case is written to files; in memory that is a hundred times as fast:
//!
//! `TMPDIR=/dev/shm cargo +nightly fuzz run eval_readers fuzz/corpus/eval_readers
//! fuzz/seeds/eval_readers`
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_eval::{Mode, run};

/// Files of a case of each set.
const SETS: [(&str, &[&str]); 11] = [
    ("sockshop1", &["a-cpu/1/normal.csv", "a-cpu/1/anomalous.csv"]),
    (
        "petshop",
        &[
            "low/noissue/metrics.csv",
            "low/test/issue_0/metrics.csv",
            "low/graph.csv",
            "low/test/issue_0/target.json",
        ],
    ),
    (
        "nezha_trainticket",
        &[
            "2023-01-29/fault_list.json",
            "2023-01-29/log/09_01_log.csv",
            "2023-01-29/trace/09_01_trace.csv",
            "2023-01-29/faultfree/log/08_50_log.csv",
            "2023-01-29/faultfree/trace/08_50_trace.csv",
            "2023-01-29/metric/a_metric.csv",
            "2023-01-29/metric/source_50.csv",
            "2023-01-29/metric/destination_50.csv",
        ],
    ),
    ("tvdiag_sockshop", &["nodes.json", "metrics.json", "logs.json", "traces.json", "label.csv"]),
    (
        "rootcausebench",
        &[
            "a/environment/data/metrics.csv",
            "a/environment/data/alert.json",
            "a/environment/data/traces.json",
            "a/environment/data/patterns.json",
            "a/environment/data/context/commits.json",
            "a/environment/data/context/deploys.json",
            "a/environment/data/status_feed.json",
            "a/tests/ground_truth.json",
        ],
    ),
    ("RS", &["anomaly.yaml", "a.csv"]),
    ("riskloc_S", &["injection_info.csv", "1.csv.gz"]),
    ("loghub_2k", &["a/a_2k.log_structured_corrected.csv"]),
    ("NAB", &["data/a/a.csv", "combined_windows.json"]),
    ("TCPD", &["annotations.json", "a.json"]),
    ("lab", &["runs.jsonl"]),
];

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let (set, files) = SETS[usize::from(*first) % SETS.len()];
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files.iter().zip(rest.split(|byte| *byte == 0)) {
        let path = folder.path().join(set).join(name);
        std::fs::create_dir_all(path.parent().expect("files lie in the folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    if let Ok((outcome, _)) = run(set, folder.path(), Mode::Blind) {
        assert!(outcome.table.iter().all(|measure| measure.value.is_finite()));
    }
});
