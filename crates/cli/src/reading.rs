//! The world a reading command looks at: live, or out of a recording or store.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use taproot_model::{Span, Timestamp};
use taproot_store::Source;
use taproot_world::{Config, World};

use crate::args::{AgentArgs, SourceArgs};
use crate::live::{self, Live};

/// Longest span read into memory at once.
const LONGEST: Duration = Duration::from_hours(24);

/// Makes the world of the flags. Live, it looks for the time asked.
pub(crate) fn world(source: &SourceArgs, agent: &AgentArgs) -> Result<World> {
    let file = source.replay.as_deref().or(source.store.as_deref());
    match file {
        Some(path) => from_file(path, source),
        None => look(source.look, agent),
    }
}

fn from_file(path: &Path, args: &SourceArgs) -> Result<World> {
    let source = Source::detect(path)?;
    let Some(extent) = source.extent()? else {
        bail!(
            "{source} holds no signals yet: let `taproot run` or `taproot record` run for a while"
        );
    };
    let from = args.since.map_or(extent.from, |since| (extent.to - since).max(extent.from));
    let to = args.until.map_or(Timestamp(extent.to.0 + 1), |until| extent.to - until);
    if to <= from {
        bail!("--until ends before --since begins: nothing is left to look at");
    }
    let span = Span::new(from, to);
    let window = span.length().clamp(Duration::from_mins(1), LONGEST);
    let mut world = World::new(Config { window, ..Config::default() });
    let read = source.read(span, &mut |signal| world.add(&signal))?;
    if let Some(ending) = read.ending {
        tell_ending(path, &ending);
    }
    Ok(world)
}

fn tell_ending(path: &Path, ending: &taproot_store::recording::Ending) {
    let text = ending.to_string();
    if !text.is_empty() {
        eprintln!("taproot: {}: {text}", path.display());
    }
}

fn look(time: Duration, agent: &AgentArgs) -> Result<World> {
    let interrupted = live::interrupt_flag()?;
    let live = Live::start(live::options(agent)?, None)?;
    eprintln!("looking for {} s ...", time.as_secs_f64());
    live::pause(time, &interrupted);
    let shared = live.shared();
    live.stop()?;
    let world = std::mem::replace(
        &mut *shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        World::new(Config::default()),
    );
    Ok(world)
}
