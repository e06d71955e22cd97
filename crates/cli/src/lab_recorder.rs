//! Recordings of single lab runs: the evidence that a verdict was drawn from, so
//! that the same question can be asked of it again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use taproot_model::{Signal, Timestamp};
use taproot_store::recording::{Header, RecordingWriter};

use crate::live::{Live, Sink};

/// Writes what the agent observes between [`Recorder::begin`] and [`Recorder::finish`].
#[derive(Clone)]
pub(crate) struct Recorder {
    folder: PathBuf,
    open: Arc<Mutex<Option<RecordingWriter>>>,
}

impl Recorder {
    /// Recordings go to this folder, which is made if need be.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot record to {}", folder.display()))?;
        Ok(Self { folder: folder.to_path_buf(), open: Arc::default() })
    }

    /// Takes the agent's batches; drops them while no recording is open.
    pub(crate) fn sink(&self) -> Sink {
        let recorder = self.clone();
        Box::new(move |batch: &[Signal]| {
            let mut open = recorder.open();
            let written = open.as_mut().map_or(Ok(()), |writer| writer.write(batch));
            if let Err(error) = written {
                eprintln!("taproot: the recording ends here: {error}");
                *open = None;
            }
        })
    }

    /// Begins the recording `name` with who is who. One left over from a run that
    /// was tried again is replaced.
    pub(crate) fn begin(&self, name: &str, live: &Live) -> Result<()> {
        let path = self.folder.join(format!("{name}.taproot"));
        let header = Header {
            agent_version: env!("CARGO_PKG_VERSION").into(),
            node: "lab-node".into(),
            clock_offset: taproot_agent::clock_offset(),
            started: Timestamp::now(),
            scope: "lab".into(),
        };
        *self.open() = None;
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        let mut writer = RecordingWriter::create(&path, &header)
            .with_context(|| format!("cannot record to {}", path.display()))?;
        let known: Vec<Signal> = {
            let world = live.world();
            world.entities().cloned().map(Box::new).map(Signal::Entity).collect()
        };
        writer.write(&known)?;
        *self.open() = Some(writer);
        Ok(())
    }

    /// Writes the end mark.
    pub(crate) fn finish(&self) -> Result<()> {
        let writer = self.open().take();
        writer.map_or(Ok(()), |w| w.finish().map(drop).context("ending the recording"))
    }

    fn open(&self) -> MutexGuard<'_, Option<RecordingWriter>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
