//! `taproot doctor`: what works on this machine, found out by trying.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use taproot_agent::{Feature, FeatureState};
use taproot_kube::cgroup::Layout;
use taproot_kube::{Options, Resolver, SourceState};

use crate::args::{DoctorArgs, Output};
use crate::table::Table;

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;
/// Time the sources of names get to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Features without which the main job cannot be done.
const MAIN_JOB: [&str; 4] = ["http", "flow", "lifecycle", "scheduler"];
/// Capabilities that are used, and for what.
const CAPABILITIES: [(u32, &str, &str); 7] = [
    (39, "CAP_BPF", "load programs"),
    (38, "CAP_PERFMON", "read kernel memory in tracepoints"),
    (12, "CAP_NET_ADMIN", "attach to sockets' edges, ask conntrack"),
    (21, "CAP_SYS_ADMIN", "attach uprobes, enter network namespaces"),
    (19, "CAP_SYS_PTRACE", "look at processes of others"),
    (1, "CAP_DAC_OVERRIDE", "read logs and files of others"),
    (24, "CAP_SYS_RESOURCE", "raise limits (not needed)"),
];

/// All that the doctor finds.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    schema_version: u32,
    kernel: String,
    main_job: bool,
    features: Vec<Line>,
    hooks: Vec<Line>,
    /// Files with TLS in them that processes run now.
    tls: Vec<Line>,
    machine: Vec<Line>,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    /// `on`, `partly`, `off` or `info`.
    state: &'static str,
    detail: String,
}

impl Line {
    fn new(name: impl Into<String>, state: &'static str, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state, detail: detail.into() }
    }
}

pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let health = examine(taproot_agent::probe(unified().as_deref()));
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&health)?),
        Output::Table => print!("{}", text(&health)),
    }
    Ok(if health.main_job { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The root of the unified tree, if there is one.
fn unified() -> Option<PathBuf> {
    Layout::detect(Path::new("/proc"), None).ok()?.unified
}

/// Looks at everything else: what collectors can do here is known by those who
/// started them.
pub(crate) fn examine(features: Vec<Feature>) -> Health {
    let layout = Layout::detect(Path::new("/proc"), None);
    let features: Vec<Line> = features
        .into_iter()
        .map(|f| match f.state {
            FeatureState::On(hook) => Line::new(f.name, "on", format!("{} [{hook}]", f.gives)),
            FeatureState::Partly(what) => {
                Line::new(f.name, "partly", format!("{} [{what}]", f.gives))
            }
            FeatureState::Off(why) => Line::new(f.name, "off", why),
        })
        .collect();
    let on = |name: &&str| features.iter().any(|f| f.name == **name && f.state != "off");
    let hooks =
        taproot_probes::doctor::probe_hooks(unified().as_deref()).into_iter().map(
            |hook| match hook.refused {
                None => Line::new(hook.kind, "on", hook.purpose),
                Some(why) => Line::new(hook.kind, "off", format!("{}: {why}", hook.purpose)),
            },
        );
    let hooks = hooks.chain(trace_hooks()).collect();
    let mut machine = vec![match &layout {
        Ok(layout) => Line::new("cgroups", "on", layout_words(layout)),
        Err(error) => Line::new("cgroups", "off", error.to_string()),
    }];
    machine.extend([btf(), lockdown(), capabilities(), tracefs()]);
    machine.extend(sources());
    Health {
        schema_version: SCHEMA_VERSION,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .into(),
        main_job: MAIN_JOB.iter().all(on),
        hooks,
        tls: tls(),
        features,
        machine,
    }
}

/// The hooks of `taproot trace`, by tier.
fn trace_hooks() -> Vec<Line> {
    let hooks = match taproot_probes::trace::probe() {
        Ok(hooks) => hooks,
        Err(error) => return vec![Line::new("trace", "off", error.to_string())],
    };
    hooks
        .into_iter()
        .map(|hook| {
            let name = format!("trace {}", hook.hook);
            let tier = hook.tier.as_str();
            match hook.refused {
                None => Line::new(name, "on", format!("{} [{tier}]", hook.gives)),
                Some(why) => Line::new(name, "off", format!("{}: {why}", hook.gives)),
            }
        })
        .collect()
}

/// Libraries and programs that encrypt, and whether requests inside of TLS can be seen.
fn tls() -> Vec<Line> {
    let line = |library: taproot_probes::tls::Library| {
        let users = match library.processes {
            1 => "1 process".to_owned(),
            many => format!("{many} processes"),
        };
        match library.why_not {
            None => Line::new(library.path, "on", users),
            Some(why) => Line::new(library.path, "off", format!("{users}: {why}")),
        }
    };
    taproot_probes::tls::survey().into_iter().map(line).collect()
}

fn layout_words(layout: &Layout) -> String {
    let unified = layout.unified.as_ref().map(|p| format!("v2 tree at {}", p.display()));
    let unified =
        unified.unwrap_or_else(|| "no v2 tree: names come from /proc/<pid>/cgroup".into());
    format!("{:?}, {unified}; {} controllers found", layout.kind, layout.controllers.len())
}

fn btf() -> Line {
    match std::fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(meta) => Line::new("BTF", "on", format!("{} KiB of kernel types", meta.len() >> 10)),
        Err(_) => Line::new("BTF", "off", "the kernel must be built with CONFIG_DEBUG_INFO_BTF=y"),
    }
}

fn lockdown() -> Line {
    match std::fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(text) => {
            let mode = text.split(['[', ']']).nth(1).unwrap_or("unknown");
            Line::new("lockdown", "info", mode)
        }
        Err(_) => Line::new("lockdown", "info", "not shown here (securityfs is not mounted)"),
    }
}

fn tracefs() -> Line {
    let there = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .find(|p| Path::new(p).join("events").is_dir());
    match there {
        Some(path) => Line::new("tracefs", "on", path),
        None => Line::new(
            "tracefs",
            "info",
            "not mounted; only perf tracepoints want it, nothing needs them",
        ),
    }
}

fn capabilities() -> Line {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    let Some(mask) = mask else { return Line::new("capabilities", "info", "not readable") };
    let missing: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(bit, ..)| mask >> bit & 1 == 0)
        .map(|(_, name, what)| format!("{name} ({what})"))
        .collect();
    if missing.is_empty() {
        return Line::new("capabilities", "on", "all that are used");
    }
    let needed = missing.iter().any(|m| !m.contains("not needed"));
    let state = if needed { "off" } else { "on" };
    Line::new("capabilities", state, format!("missing: {}", missing.join(", ")))
}

/// How the sources of names answer.
fn sources() -> Vec<Line> {
    let resolver = Resolver::start(Options::detect());
    let end = Instant::now() + PATIENCE;
    while resolver.status().iter().any(|s| s.state == SourceState::Starting) && Instant::now() < end
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    let line = |s: taproot_kube::SourceStatus| {
        let state = match s.state {
            SourceState::Ok => "on",
            SourceState::Off => "info",
            SourceState::Starting | SourceState::Failing => "off",
        };
        Line::new(s.name, state, s.detail)
    };
    resolver.status().into_iter().map(line).collect()
}

fn text(health: &Health) -> String {
    let mut out = format!("kernel {}\n", health.kernel);
    let tables = [
        ("FEATURE", &health.features),
        ("HOOK", &health.hooks),
        ("TLS IN", &health.tls),
        ("MACHINE", &health.machine),
    ];
    for (title, lines) in tables.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        let mut table = Table::new(&[title, "STATE", "DETAIL"]);
        for line in lines {
            table.row(&[&line.name, line.state, &line.detail]);
        }
        out.push('\n');
        out.push_str(&table.to_string());
    }
    out.push_str(if health.main_job {
        "\nThe main job can run here.\n"
    } else {
        "\nThe main job cannot run here: see what is off above.\n"
    });
    out
}
