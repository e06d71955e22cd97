//! Any reader, any file spoilt in any of the ways that files are spoilt: a clear error
//! or a finite answer, never a panic.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use taproot_eval::{Mode, run};

/// A set made up as small as its form allows: its name and its files.
type Sample = (&'static str, Vec<(&'static str, String)>);

fn table(head: &str, rows: u32, row: impl Fn(u32) -> String) -> String {
    let rows: String = (0..rows).map(|i| row(i) + "\n").collect();
    format!("{head}\n{rows}")
}

fn shops() -> Vec<Sample> {
    let shop =
        |level: u32| table("time,a_cpu,b_mem", 30, |i| format!("{i},{},{}", level + i % 3, 7));
    let pets = |web: f64| {
        let head = "microservice,web,db,web,db\nmetric,latency,latency,requests,requests\n\
                    statistic,Average,Average,Sum,Sum\nunix_timestamp,,,,";
        table(head, 30, |i| format!("{},{web},0.01,100,100", 900_000 + i * 300))
    };
    vec![
        ("sockshop1", vec![("a-cpu/1/normal.csv", shop(1)), ("a-cpu/1/anomalous.csv", shop(50))]),
        (
            "petshop",
            vec![
                ("low/noissue/metrics.csv", pets(0.1)),
                ("low/test/issue_0/metrics.csv", pets(0.4)),
                ("low/graph.csv", ",web,db\nweb,0,1\ndb,0,0\n".into()),
                (
                    "low/test/issue_0/target.json",
                    r#"{"target": {"node": "web", "metric": "latency", "timestamp": 900100},
                        "root_cause": {"node": "db", "metric": null}}"#
                        .into(),
                ),
            ],
        ),
    ]
}

fn tickets() -> Sample {
    let second = |i: u32| 1_674_982_800_u64 + u64::from(i);
    (
        "nezha_trainticket",
        vec![
            (
                "2023-01-29/fault_list.json",
                r#"[{"inject_time": "2023-01-29 09:00:30", "inject_pod": "pay-1",
                         "inject_type": "return"}]"#
                    .into(),
            ),
            (
                "2023-01-29/log/09_01_log.csv",
                table("Timestamp,TimeUnixNano,Node,PodName,Container,TraceID,SpanID,Log", 9, |i| {
                    format!("x,{}000000000,n,pay-1,c,t{i},b,\"INFO Pay#{i} done\"", second(i))
                }),
            ),
            (
                "2023-01-29/trace/09_01_trace.csv",
                table(
                    "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration",
                    9,
                    |i| format!("t{i},a,root,pay-1,GET,{0}000000000,{0}000900000,9", second(i)),
                ),
            ),
            (
                "2023-01-29/metric/pay-1_metric.csv",
                table("Time,TimeStamp,PodName,CpuUsage(m)", 30, |i| {
                    format!("x,{},pay-1,{i}", second(i * 60))
                }),
            ),
            (
                "2023-01-29/metric/source_50.csv",
                table("time,timestamp,pay_pay", 9, |i| format!("x,{},0.1", second(i * 60))),
            ),
            (
                "2023-01-29/metric/destination_50.csv",
                table("time,timestamp,pay_pay", 9, |i| format!("x,{},0.1", second(i * 60))),
            ),
        ],
    )
}

fn incidents() -> Vec<Sample> {
    vec![
        (
            "tvdiag_sockshop",
            vec![
                ("nodes.json", r#"{"0": ["a-0"], "1": ["a-0"]}"#.into()),
                ("metrics.json", r#"{"0": [["a-0", "cpu_usage", "up"]]}"#.into()),
                ("logs.json", r#"{"0": [["a-0", "a-0-7"]]}"#.into()),
                ("traces.json", r#"{"0": [["a-0", "b-0", "http://h/get", "PD"]]}"#.into()),
                ("label.csv", "index,instance,anomaly_type\n0,a-0,cpu\n1,a-0,cpu\n".into()),
            ],
        ),
        (
            "rootcausebench",
            vec![
                (
                    "a/environment/data/metrics.csv",
                    table("timestamp,service,metric,value", 30, |i| {
                        format!("2026-01-01T10:{i:02}:00Z,web,error_rate,{}", i / 20)
                    }),
                ),
                ("a/environment/data/alert.json", r#"{"service": "web"}"#.into()),
                (
                    "a/environment/data/context/commits.json",
                    r#"[{"sha": "c", "timestamp": "2026-01-01T10:10:00Z", "diff": "-a = 5\n+a = 4"}]"#
                        .into(),
                ),
                (
                    "a/tests/ground_truth.json",
                    r#"{"root_cause_commit": "c", "first_failing_service": "web",
                        "blast_radius": [], "remediation": "rollback", "decoy_deploy_commits": []}"#
                        .into(),
                ),
            ],
        ),
    ]
}

fn runs() -> Sample {
    let run = r#"{"fault":"crash","class":"crash","culprit":"a","score":0.9,
                  "class_right":true,"culprit_right":true}"#;
    let line = run.replace('\n', " ");
    ("lab", vec![("runs.jsonl", format!("{line}\n{line}\n"))])
}

fn samples() -> Vec<Sample> {
    shops().into_iter().chain([tickets(), runs()]).chain(incidents()).collect()
}

/// A way in which files are spoilt.
type Spoiler = (&'static str, fn(&str) -> String);

const SPOILERS: [Spoiler; 12] = [
    ("empty", |_| String::new()),
    ("cut in the middle", |text| text[..text.floor_char_boundary(text.len() / 2)].to_owned()),
    ("first line only", |text| text.lines().next().unwrap_or("").to_owned()),
    ("without its first line", |text| {
        text.split_once('\n').map_or("", |(_, rest)| rest).to_owned()
    }),
    ("all digits nine", |text| text.replace(|c: char| c.is_ascii_digit(), "9")),
    ("numbers that are none", |text| text.replace(",1", ",NaN").replace(": 1", ": null")),
    ("infinite numbers", |text| text.replace(",1", ",inf").replace(": 9", ": 1e999")),
    ("times that repeat", |text| text.lines().flat_map(|l| [l, "\n", l, "\n"]).collect()),
    ("rows turned round", |text| text.lines().rev().flat_map(|l| [l, "\n"]).collect()),
    ("fields missing", |text| text.replace(',', "")),
    ("other letters", |text| text.replace('a', "\u{1F980}")),
    ("a very long line", |text| format!("{text}{}", "x,".repeat(1 << 20))),
];

fn write(folder: &Path, files: &[(&str, String)]) {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("files lie in the folder")).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn sound_samples_are_scored() {
    for (set, files) in samples() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join(set), &files);
        let found = run(set, folder.path(), Mode::Given { late: 60 });
        assert!(found.is_ok_and(|(outcome, _)| !outcome.rows.is_empty()), "{set}");
    }
}

#[test]
fn spoilt_files_give_an_error_or_a_finite_answer() {
    for (set, files) in samples() {
        for (at, (file, sound)) in files.iter().enumerate() {
            for (how, spoil) in SPOILERS {
                let folder = tempfile::tempdir().unwrap();
                let mut files = files.clone();
                files[at].1 = spoil(sound);
                write(&folder.path().join(set), &files);
                match run(set, folder.path(), Mode::Blind) {
                    Ok((outcome, _)) => assert!(
                        outcome.table.iter().all(|m| m.value.is_finite()),
                        "{set}: {file} {how}"
                    ),
                    Err(error) => assert!(!error.to_string().is_empty(), "{set}: {file} {how}"),
                }
            }
        }
    }
}
