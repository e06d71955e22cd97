//! `taproot trace`: where a packet went, where it died, and why.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use taproot_kube::Resolver;
use taproot_model::Step;
use taproot_probes::trace::{Account, Event, Options, Tier, Tracer};
use taproot_trace::expect::Expectation;
use taproot_trace::filter::Expr;
use taproot_trace::judge::Verdict;
use taproot_trace::record::Recording;
use taproot_trace::{Names, Namespaces, Trace, diff, expect, judge, pcapng, render};

use crate::trace_filter::Narrow;
use crate::trace_names::{ClusterNames, Scene};
use crate::{live, trace_nodes, units};

/// How often the ring is emptied.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What still belongs to a packet after the event that ends a trace.
const AFTERMATH: Duration = Duration::from_millis(300);
/// Hops kept in memory at most.
const MOST_HOPS: usize = 500_000;

/// Flags of `taproot trace`.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "independent flags of a command")]
pub(crate) struct TraceArgs {
    /// Which packets, in the words of pcap-filter: `tcp port 443 and host 10.0.0.1`.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    #[command(flatten)]
    narrow: Narrow,
    /// Stop after this time.
    #[arg(long = "for", default_value = "10s", value_parser = units::duration)]
    look: Duration,
    /// Stop after this many packets.
    #[arg(long)]
    count: Option<usize>,
    /// Stop at the first packet that is dropped.
    #[arg(long)]
    until_drop: bool,
    /// Output form.
    #[arg(short, long, value_enum, default_value_t)]
    output: TraceForm,
    /// Also tell the other outcomes, and the way that the configuration lets expect.
    #[arg(long)]
    explain: bool,
    /// Put a flow that works beside one that does not, and show where they part; the
    /// filter has to take in both.
    #[arg(long)]
    diff: bool,
    /// Show every hop of the packet, not just twelve.
    #[arg(long)]
    all_hops: bool,
    /// Also keep the trace in a file, to look at it again with --replay.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Show a recorded trace instead of tracing; -o, --explain, --diff and --all-hops work
    /// as they did on the machine that it is of. Traces of several nodes are joined: the
    /// hops of each packet become one path, by the clock of the first.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = [
        "filter", "record", "functions", "deep", "count", "until_drop", "pod", "namespace",
        "service", "label", "container", "pid", "netns", "interface", "mark", "reason",
    ])]
    replay: Vec<PathBuf>,
    /// Size of the ring that carries hops.
    #[arg(long, default_value = "8MiB", value_parser = units::bytes)]
    ring: u64,
    /// Also watch functions that decide over packets: firewall tables and chains,
    /// translation, routing, sockets. Where the kernel does not allow it, says so and goes
    /// on without.
    #[arg(long)]
    functions: bool,
    /// Also watch every function that is given a packet; slow, for when nothing else tells.
    #[arg(long)]
    deep: bool,
    /// Hops that one CPU may report in a second; 0 for no limit. When it is exceeded, hooks
    /// on functions are taken off first.
    #[arg(long, default_value_t = 200_000)]
    budget: u32,
    /// Pods and services as `kubectl get pods,services,endpointslices -A -o json` writes them.
    #[arg(long, value_name = "FILE")]
    pub(crate) pods_file: Option<PathBuf>,
    /// Take names from a lab that is up.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "default")]
    pub(crate) lab: Option<String>,
}

/// How a trace is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum TraceForm {
    /// A verdict and the packet's way, for people.
    #[default]
    Text,
    /// A JSON object a line: paths, verdicts, a summary.
    Json,
    /// Every hop's headers with what happened as a comment, for Wireshark.
    Pcapng,
}

pub(crate) fn run(args: &TraceArgs) -> Result<ExitCode> {
    if args.output == TraceForm::Pcapng && std::io::stdout().is_terminal() {
        bail!("-o pcapng is for programs: send it to a file, `> trace.pcapng`");
    }
    match args.replay.as_slice() {
        [] => {}
        [file] => return replay(args, file),
        files => return replay_nodes(args, files),
    }
    // A filter that makes no sense is said before anything is looked for.
    let filter = Expr::parse(&args.filter.join(" "))?;
    let interrupted = live::interrupt_flag()?;
    let options = live::trace_names(args.pods_file.as_deref(), args.lab.as_deref())?;
    let node_netns = options.node_netns.clone();
    let names = ClusterNames::new(Resolver::start(options.names), node_netns.as_deref());
    let mut namespaces = Namespaces::find(Path::new("/proc"), Path::new("/run/netns"));
    let asked = args.narrow.apply(filter, &names, &namespaces)?;
    let tracer = Tracer::start(&Options {
        tests: asked.tests,
        owners: asked.owners,
        legs: asked.legs,
        ring_bytes: u32::try_from(args.ring).context("--ring is at most 2GiB")?,
        budget: args.budget,
        tier: tier(args),
    })?;
    say_what_is_off(&tracer, tier(args));
    let inodes = names.inodes();
    let (events, account) = std::thread::scope(|scope| {
        // Beside the trace: of many pods this takes seconds, and packets do not wait. What a
        // rule had counted before the first of them is proved by those that follow as well.
        scope.spawn(|| namespaces.remember(inodes));
        watch(tracer, args, &interrupted)
    })?;
    let trace = Trace::assemble(events.clone(), account);
    let verdicts = judge::judge(&trace, &names, &namespaces);
    let expected = if args.explain || args.record.is_some() {
        expected(&trace, &verdicts, &namespaces)
    } else {
        Vec::new()
    };
    print(args, &trace, &verdicts, &names, &expected)?;
    if let Some(file) = &args.record {
        let recording = Recording::new(events, &trace, &verdicts, &names, expected);
        record(&recording, file)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn record(recording: &Recording, file: &Path) -> Result<()> {
    let failed = || format!("{} cannot be written", file.display());
    let out = std::fs::File::create(file).with_context(failed)?;
    recording.write(std::io::BufWriter::new(out)).with_context(failed)
}

/// A trace of before, judged by what was known then.
fn replay(args: &TraceArgs, file: &Path) -> Result<ExitCode> {
    let recording = trace_nodes::recording(file)?;
    let trace = recording.trace();
    let verdicts = judge::judge(&trace, &recording, &recording);
    print(args, &trace, &verdicts, &recording, recording.expected())?;
    Ok(ExitCode::SUCCESS)
}

/// Traces of several nodes as one.
fn replay_nodes(args: &TraceArgs, files: &[PathBuf]) -> Result<ExitCode> {
    let joined = trace_nodes::joined(files)?;
    let (trace, clocks) = (joined.trace(), joined.clocks());
    let verdicts = judge::judge(trace, &joined, &joined);
    if args.output == TraceForm::Json {
        print!("{}", trace_nodes::clocks_as_lines(clocks)?);
    }
    print(args, trace, &verdicts, &joined, &[])?;
    match args.output {
        TraceForm::Text => print!("{}", trace_nodes::clocks_in_words(clocks)),
        TraceForm::Json => {}
        TraceForm::Pcapng => eprint!("{}", trace_nodes::clocks_in_words(clocks)),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the configuration lets expect of the first verdict's packet.
fn expected(trace: &Trace, verdicts: &[Verdict], namespaces: &Namespaces) -> Vec<Expectation> {
    let Some(path) = verdicts.first().and_then(|verdict| verdict.path) else { return Vec::new() };
    let path = expect::question(trace, path);
    expect::expectations(trace, path, &namespaces.on(&trace.paths[path]))
}

fn tier(args: &TraceArgs) -> Tier {
    match (args.deep, args.functions) {
        (true, _) => Tier::Every,
        (false, true) => Tier::Function,
        (false, false) => Tier::Tracepoint,
    }
}

/// A tier that was asked for and is not there is said in a line; single hooks in the log.
fn say_what_is_off(tracer: &Tracer, tier: Tier) {
    for off in tracer.off() {
        tracing::info!(program = off.program, why = off.why, "a hook is off");
    }
    let missing = tracer.missing_tiers();
    let flag = if tier == Tier::Every { "--deep" } else { "--functions" };
    match missing.as_slice() {
        [] => {}
        [(Tier::Every, why)] => eprintln!("{flag} is off here, going on with --functions: {why}"),
        [(_, why)] if tier == Tier::Every => eprintln!("{flag} goes on without --functions: {why}"),
        [(_, why), ..] => eprintln!("{flag} is off here, going on with tracepoints: {why}"),
    }
    let watched = tracer.watched();
    if tier == Tier::Every && watched > 0 {
        eprintln!("watching {watched} functions");
    }
}

/// Prints the trace in the form that was asked for.
fn print(
    args: &TraceArgs,
    trace: &Trace,
    verdicts: &[Verdict],
    names: &dyn Names,
    expected: &[Expectation],
) -> Result<()> {
    let compared = args.diff.then(|| diff::diff(trace));
    let expected = if args.explain { expected } else { &[] };
    let beside = render::Beside { expected, diff: compared.as_ref() };
    match args.output {
        TraceForm::Json => print!("{}", render::json_lines(trace, verdicts, names, beside)?),
        TraceForm::Text => {
            let style = render::Style { all_hops: args.all_hops, explain: args.explain };
            print!("{}", render::text(trace, verdicts, names, style, beside));
        }
        TraceForm::Pcapng => pcapng::write(std::io::stdout().lock(), trace, verdicts, names)
            .context("the pcapng cannot be written")?,
    }
    Ok(())
}

/// Collects hops until the time is over, enough was seen, or Ctrl-C.
fn watch(
    mut tracer: Tracer,
    args: &TraceArgs,
    interrupted: &AtomicBool,
) -> Result<(Vec<Event>, Account)> {
    let mut end = Instant::now() + args.look;
    let mut events: Vec<Event> = Vec::new();
    let mut seen = Scene::default();
    let mut ending = false;
    while Instant::now() < end && !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        let new = tracer.poll()?;
        if !ending && is_enough(args, &mut seen, &new) {
            ending = true;
            end = end.min(Instant::now() + AFTERMATH);
        }
        events.extend(new);
        if events.len() > MOST_HOPS {
            bail!(
                "more than {MOST_HOPS} hops match: narrow the filter, or shorten the time with --for"
            );
        }
    }
    events.extend(tracer.stop()?);
    Ok((events, tracer.account()?))
}

fn is_enough(args: &TraceArgs, seen: &mut Scene, new: &[Event]) -> bool {
    let dropped = new.iter().any(|event| matches!(event.hop.step, Step::Dropped(_)));
    let packets = seen.count(new);
    (args.until_drop && dropped) || args.count.is_some_and(|most| packets >= most)
}
