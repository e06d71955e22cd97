//! `taproot record FILE`.

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result};
use taproot_model::Timestamp;
use taproot_store::recording::{Header, RecordingWriter};

use crate::args::RecordArgs;
use crate::live::{self, Live};

pub(crate) fn run(args: &RecordArgs) -> Result<ExitCode> {
    let interrupted = live::interrupt_flag()?;
    let options = live::options(&args.agent)?;
    let header = Header {
        agent_version: env!("CARGO_PKG_VERSION").into(),
        node: options.names.node.as_str().into(),
        clock_offset: taproot_agent::clock_offset(),
        started: Timestamp::now(),
        scope: format!("{:?}", options.scope).into(),
    };
    let mut writer = RecordingWriter::create(&args.file, &header)
        .with_context(|| format!("cannot record to {}", args.file.display()))?;
    let (send, signals) = channel();
    let sink = Box::new(move |batch: &[taproot_model::Signal]| {
        let _ = send.send(batch.to_vec());
    });
    let live = Live::start(options, Some(sink))?;
    eprintln!("recording to {}; Ctrl-C ends it", args.file.display());
    let begin = std::time::Instant::now();
    while args.look.is_none_or(|time| begin.elapsed() < time)
        && !interrupted.load(std::sync::atomic::Ordering::Relaxed)
    {
        if let Ok(batch) = signals.recv_timeout(Duration::from_millis(100)) {
            writer.write(&batch)?;
        }
    }
    live.stop()?;
    for batch in signals.try_iter() {
        writer.write(&batch)?;
    }
    let (count, bytes) = (writer.signals(), writer.bytes());
    writer.finish()?;
    eprintln!("{count} signals, {bytes} bytes in {}", args.file.display());
    Ok(ExitCode::SUCCESS)
}
