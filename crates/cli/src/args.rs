//! Every flag of the program, as data: parsing, help, completions and man pages come from here.

#![allow(clippy::doc_markdown, reason = "these comments are the help that users read")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use taproot_agent::Scope;

use crate::bench::{BenchArgs, BenchClientArgs};
use crate::request_filter::RequestFilter;
use crate::trace::TraceArgs;
use crate::units;

/// Finds the root cause of what is wrong in a Kubernetes cluster, from the kernel up.
#[derive(Debug, Parser)]
#[command(name = "taproot", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Say more on stderr (twice: everything); TAPROOT_LOG filters finer.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What works on this machine, through which hook, and what does not and why.
    Doctor(DoctorArgs),
    /// Observe this machine: agent, embedded store, web page, and a watch for trouble.
    Run(RunArgs),
    /// Who calls whom, how much, how fast, how badly.
    Map(ReadArgs),
    /// Instances with their golden signals and resources.
    Top(TopArgs),
    /// Requests by route, live, or one a line as they come; with filters.
    Requests(RequestsArgs),
    /// Connections: bytes, packets, loss, drops, round-trip times.
    Flows(ReadArgs),
    /// Record all signals into one file, for post-mortems, bug reports and tests.
    Record(RecordArgs),
    /// Say what is wrong, where, since when, why, and what to do.
    Diagnose(DiagnoseArgs),
    /// Where packets go, where they die, and why.
    Trace(TraceArgs),
    /// What logs say: templates, how often, and lines that are no text.
    Logs(LogsArgs),
    /// A small real cluster on this machine, with real faults to inject.
    Lab(LabArgs),
    /// Score the analysis on public data sets, in their own measures.
    Eval(EvalArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages.
    Man {
        /// Folder to write them to.
        folder: PathBuf,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: a documented, versioned schema.
    Json,
}

/// What is observed and where names come from.
#[derive(Clone, Debug, Args)]
pub(crate) struct AgentArgs {
    /// What to observe: all, namespace:NAME, pod:NAMESPACE/NAME or cgroup:/PATH.
    #[arg(long, default_value = "all", value_parser = |s: &str| s.parse::<Scope>())]
    pub(crate) scope: Scope,
    /// Time between two looks.
    #[arg(long, default_value = "1s", value_parser = units::duration)]
    pub(crate) interval: Duration,
    /// Pods, services and events as `kubectl get pods,services,endpointslices,events -A -o json`
    /// writes them.
    #[arg(long, value_name = "FILE")]
    pub(crate) pods_file: Option<PathBuf>,
    /// Where the kubelet keeps container logs.
    #[arg(long, default_value = "/var/log/pods", value_name = "DIR")]
    pub(crate) log_root: PathBuf,
    /// The node's network namespace, where it is not this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) node_netns: Option<PathBuf>,
    /// Size of the ring that carries request samples (counts do not depend on it).
    #[arg(long, default_value = "1MiB", value_parser = units::bytes)]
    pub(crate) ring: u64,
    /// Do not count failing system calls.
    #[arg(long)]
    pub(crate) no_syscalls: bool,
    /// Do not look inside of TLS (probes on the TLS libraries of processes in scope).
    #[arg(long)]
    pub(crate) no_tls: bool,
    /// Observe a lab that is up, by its name, instead of setting scope and names by hand.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "default")]
    pub(crate) lab: Option<String>,
}

/// Where a reading command takes its signals from.
#[derive(Clone, Debug, Args)]
pub(crate) struct SourceArgs {
    /// Read a recording instead of looking live.
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    pub(crate) replay: Option<PathBuf>,
    /// Read the store of a `taproot run`.
    #[arg(long, value_name = "FILE")]
    pub(crate) store: Option<PathBuf>,
    /// How far back to look in a recording or store.
    #[arg(long, value_parser = units::duration)]
    pub(crate) since: Option<Duration>,
    /// Where to stop looking, as a time before its end.
    #[arg(long, value_parser = units::duration)]
    pub(crate) until: Option<Duration>,
    /// How long to look live.
    #[arg(long = "for", default_value = "15s", value_parser = units::duration)]
    pub(crate) look: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Output form.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Address of the web page and API.
    #[arg(long, default_value = taproot_server::DEFAULT_ADDR)]
    pub(crate) listen: std::net::SocketAddr,
    /// File of the embedded store.
    #[arg(long, default_value = "/var/lib/taproot/taproot.db", value_name = "FILE")]
    pub(crate) store: PathBuf,
    /// Most bytes the store may take; the oldest, finest rows go first.
    #[arg(long, default_value = "1GiB", value_parser = units::bytes)]
    pub(crate) store_size: u64,
    /// Do not follow packets of a link that the watch finds at fault.
    #[arg(long)]
    pub(crate) no_trace: bool,
    /// Send metrics and traces to what speaks OTLP there, such as http://HOST:4318; the
    /// OTEL_EXPORTER_OTLP_* variables say it too, and the rest, as that it is gRPC.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Output form.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Show it again and again (every 2 s unless told otherwise).
    #[arg(long, num_args = 0..=1, default_missing_value = "2s", value_parser = units::duration)]
    pub(crate) watch: Option<Duration>,
    /// Only this service.
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Only this Kubernetes namespace.
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// Only this pod.
    #[arg(long)]
    pub(crate) pod: Option<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

/// What `top` sorts by, the most first; coverage the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    /// Requests a second.
    Rate,
    /// Share of requests that failed.
    Errors,
    /// Median latency.
    P50,
    /// 99th percentile of latency.
    P99,
    /// Share of the traffic that was understood, least first.
    Coverage,
    /// CPUs used.
    #[default]
    Cpu,
    /// Memory in use.
    Memory,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// What to sort by.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: SortBy,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    /// Print each request that is kept in full on a line of its own, until Ctrl-C: errors,
    /// slow ones and a sample (the table without this counts every one).
    #[arg(short, long, conflicts_with_all = ["watch", "store"])]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) filter: RequestFilter,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// File to write; it must not exist.
    pub(crate) file: PathBuf,
    /// How long; until Ctrl-C when not given.
    #[arg(long = "for", value_parser = units::duration)]
    pub(crate) look: Option<Duration>,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DiagnoseArgs {
    /// Service (or pod) in trouble; all are looked at when not given.
    pub(crate) service: Option<String>,
    /// Output form.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: ReportForm,
    /// Do not follow packets of a link that is at fault (live only).
    #[arg(long)]
    pub(crate) no_trace: bool,
    /// How long the packets of a link that is at fault are followed.
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = units::duration)]
    pub(crate) trace_for: Duration,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportForm {
    /// One screen for people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For tickets and chats.
    Markdown,
    /// Its charts, as a picture.
    Svg,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(subcommand)]
    pub(crate) action: LogsAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogsAction {
    /// Templates of a log.
    Patterns(PatternsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PatternsArgs {
    /// Log file, plain or in a container runtime's format; standard input when not given or `-`.
    pub(crate) file: Option<PathBuf>,
    /// Output form.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Templates shown at most.
    #[arg(long, default_value_t = 50)]
    pub(crate) most: usize,
}

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Data set, or `all` of those that are there; `list` names them.
    pub(crate) name: String,
    /// Folder that holds the sets, unpacked or as archives.
    #[arg(default_value = ".")]
    pub(crate) data: PathBuf,
    /// What the engine is told of when the trouble began: blind, given, given:late=SECONDS.
    #[arg(long, default_value_t)]
    pub(crate) mode: taproot_eval::Mode,
    /// Output form.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Only the table, not a line for each case.
    #[arg(long)]
    pub(crate) brief: bool,
    /// Also write the outcome as JSON into this folder, one file a set and mode.
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    pub(crate) action: LabAction,
}

/// Which lab.
#[derive(Clone, Debug, Args)]
pub(crate) struct LabName {
    /// Name of the lab; labs of different names run side by side.
    #[arg(long, default_value = taproot_lab::DEFAULT_NAME)]
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabAction {
    /// Start the shop: load generator, gateway, product, inventory, cache.
    Up {
        #[command(flatten)]
        lab: LabName,
        /// Stay, and remove it on Ctrl-C.
        #[arg(long)]
        foreground: bool,
        /// Requests a second.
        #[arg(long, default_value_t = 50.0)]
        rps: f64,
        /// Also pods for the map's corner cases: hairpin, host network, a reused address.
        #[arg(long)]
        extras: bool,
    },
    /// Remove a lab and whatever a crash left of it.
    Down {
        #[command(flatten)]
        lab: LabName,
    },
    /// Labs that are up, and all faults.
    List,
    /// Put a fault in force in a lab that is up; `clear` takes it back.
    Fault {
        /// Fault, or `clear`.
        fault: String,
        /// Parameters of the fault.
        #[arg(value_name = "PARAMETER=NUMBER")]
        params: Vec<String>,
        /// Take it back after this time.
        #[arg(long = "for", value_parser = units::duration)]
        time: Option<Duration>,
        #[command(flatten)]
        lab: LabName,
    },
    /// Start the shop, inject faults one after the other, diagnose each, compare with the truth.
    Run(LabRunArgs),
    /// Measure what Taproot costs: CPU, throughput, latency, memory, accuracy.
    Bench(BenchArgs),
    /// The bench's client at a fixed rate.
    #[command(hide = true)]
    BenchClient(BenchClientArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LabRunArgs {
    /// Faults to run.
    pub(crate) faults: Vec<String>,
    /// Every fault.
    #[arg(long, conflicts_with = "faults")]
    pub(crate) all: bool,
    /// How often each.
    #[arg(long, default_value_t = 1)]
    pub(crate) repeat: u32,
    /// Healthy time before a fault.
    #[arg(long, default_value = "15s", value_parser = units::duration)]
    pub(crate) healthy: Duration,
    /// Requests a second.
    #[arg(long, default_value_t = 50.0)]
    pub(crate) rps: f64,
    /// CPU time the product service burns in each request.
    #[arg(long, default_value = "2.5ms", value_parser = units::duration)]
    pub(crate) burn: Duration,
    /// Time a fault is in force before the diagnosis.
    #[arg(long, default_value = "30s", value_parser = units::duration)]
    pub(crate) time: Duration,
    /// Output form: the reports, or one JSON line a run and a summary line.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Also write what each verdict was drawn from to a recording of its own in this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) lab: LabName,
}
