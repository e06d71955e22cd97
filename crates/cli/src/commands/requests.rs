//! `taproot requests`: by route in a table, or one a line as they come.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use taproot_diagnosis::Evidence;
use taproot_model::trace::Places;
use taproot_model::{Exemplar, Signal};
use taproot_world::view::{ExemplarRow, SCHEMA_VERSION};

use super::read::{Filter, View, status_cell};
use crate::args::{Output, RequestsArgs};
use crate::live::{self, Live};
use crate::reading;
use crate::table::{bytes, seconds};

/// Longest wait for a request before Ctrl-C is looked for.
const PATIENCE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &RequestsArgs) -> Result<ExitCode> {
    match (args.follow, &args.read.source.replay) {
        (false, _) => super::read::run(View::Requests(&args.filter), &args.read),
        (true, Some(_)) => replay(args),
        (true, None) => follow(args),
    }
}

/// Those of a recording, oldest first.
fn replay(args: &RequestsArgs) -> Result<ExitCode> {
    let world = reading::world(&args.read.source, &args.read.agent)?;
    let span = Evidence::span(&world);
    let places = Places::among(world.exemplars(span));
    for one in world.exemplars(span) {
        tell(one, &places, args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Those that come, until Ctrl-C.
fn follow(args: &RequestsArgs) -> Result<ExitCode> {
    let interrupted = live::interrupt_flag()?;
    let (send, come) = channel::<Exemplar>();
    let sink = move |signals: &[Signal]| {
        for signal in signals {
            if let Signal::Exemplar(one) = signal {
                // Nobody listens any more once the command ends.
                let _ = send.send((**one).clone());
            }
        }
    };
    let live = Live::start(live::options(&args.read.agent)?, Some(Box::new(sink)))?;
    while !interrupted.load(std::sync::atomic::Ordering::Relaxed) {
        match come.recv_timeout(PATIENCE) {
            // Whoever caused it ends later: of others, only what it says itself is known.
            Ok(one) => tell(&one, &Places::among([&one]), args)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    live.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// One line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    #[serde(flatten)]
    row: &'a ExemplarRow,
}

fn tell(one: &Exemplar, places: &Places, args: &RequestsArgs) -> Result<()> {
    let row = ExemplarRow::of(one, places);
    let keep = Filter::of(&args.read);
    let end = |service: &str, instance: &str| keep.service(service) && keep.pod(instance);
    let kept = end(&row.client_service, &row.client) || end(&row.server_service, &row.server);
    if !kept || !args.filter.keeps(&row) {
        return Ok(());
    }
    match args.read.output {
        Output::Json => {
            let line = Line { schema_version: SCHEMA_VERSION, row: &row };
            println!("{}", serde_json::to_string(&line).context("writing JSON")?);
        }
        Output::Table => println!("{}", line(&row)),
    }
    Ok(())
}

/// `10:00:00.000000 gateway > cart http GET /cart/17 200 2.1ms 100B/3.0kB`.
fn line(row: &ExemplarRow) -> String {
    let at = DateTime::<Utc>::from_timestamp_nanos(row.at.0.cast_signed());
    let what: Vec<&str> =
        [&*row.method, &*row.path].into_iter().filter(|text| !text.is_empty()).collect();
    format!(
        "{} {} > {} {} {} {} {} {}/{}",
        at.format("%H:%M:%S%.6f"),
        row.client,
        row.server,
        row.protocol.name(),
        what.join(" "),
        status_cell(row.code.as_deref(), row.status),
        seconds(Some(row.duration)),
        bytes(row.request_bytes as f64),
        bytes(row.response_bytes as f64),
    )
}
