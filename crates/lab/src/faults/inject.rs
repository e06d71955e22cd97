//! Putting a fault in force, and taking it back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::cgroup::Cgroup;
use crate::control::{self, Control};
use crate::error::{Error, Result};
use crate::faults::{Fault, Params, Undo, application, network, resource};
use crate::layout::unix_ns;
use crate::serve::conntrack;
use crate::state::{self, ActiveFault, Lab, Truth};
use crate::tools;

/// A fault in force. Dropping it takes the fault back.
#[derive(Debug)]
pub struct FaultHandle {
    state_dir: PathBuf,
    truth: Truth,
    owned: bool,
}

impl FaultHandle {
    /// The fault's truth.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// Takes the fault back.
    ///
    /// # Errors
    /// What the first step that could not be undone gave.
    pub fn clear(mut self) -> Result<Truth> {
        self.owned = false;
        clear(&self.state_dir)?.ok_or_else(|| Error::NotUp { dir: self.state_dir.clone() })
    }

    /// Leaves the fault in force when the handle goes.
    pub fn detach(mut self) {
        self.owned = false;
    }
}

impl Drop for FaultHandle {
    fn drop(&mut self) {
        if self.owned
            && let Err(e) = clear(&self.state_dir)
        {
            eprintln!("the fault {} could not be taken back: {e}", self.truth.fault);
        }
    }
}

/// What an injection works with.
pub(crate) struct Injection<'a> {
    pub(crate) state_dir: &'a Path,
    pub(crate) lab: &'a Lab,
    pub(crate) fault: Fault,
    pub(crate) params: &'a Params,
    undo: Vec<Undo>,
}

impl Injection<'_> {
    /// Value of a parameter.
    pub(crate) fn get(&self, name: &str) -> f64 {
        self.params.get(self.fault, name)
    }

    /// Notes how a step is taken back. It is written down before the step is
    /// taken, so that a crash in between leaves nothing behind.
    pub(crate) fn undo_by(&mut self, step: Undo) -> Result<()> {
        self.undo.push(step);
        let steps = self.undo.clone();
        state::update(self.state_dir, |lab| {
            if let Some(active) = &mut lab.fault {
                active.undo = steps;
            }
        })
    }

    /// Tells a pod to misbehave.
    pub(crate) fn misbehave(&mut self, pod: &str, control: &Control) -> Result<()> {
        self.undo_by(Undo::Behave { pod: pod.into() })?;
        control::write(self.state_dir, pod, control)
    }

    /// Netns of the node.
    pub(crate) fn node(&self) -> &str {
        &self.lab.node.netns.name
    }
}

/// Puts a fault in force.
pub(crate) fn inject(state_dir: &Path, fault: Fault, params: &Params) -> Result<FaultHandle> {
    params.check(fault)?;
    let (culprit, victim, symptom) = fault.truth();
    let truth = Truth {
        fault: fault.name().into(),
        class: fault.class().into(),
        culprit,
        victim: victim.map(Into::into),
        symptom: symptom.map(Into::into),
        from_unix_ns: unix_ns(),
        to_unix_ns: None,
    };
    let lab = state::update(state_dir, |lab| {
        if let Some(active) = &lab.fault {
            return Err(Error::FaultActive { active: active.truth.fault.clone() });
        }
        lab.fault = Some(ActiveFault { truth: truth.clone(), undo: Vec::new() });
        Ok(lab.clone())
    })??;
    let handle = FaultHandle { state_dir: state_dir.to_path_buf(), truth, owned: true };
    let mut injection = Injection { state_dir, lab: &lab, fault, params, undo: Vec::new() };
    // On failure the handle goes out of scope and takes back what was done.
    match fault {
        Fault::Healthy => Ok(()),
        Fault::NoisyNeighbour | Fault::CpuLimit => resource::inject(&mut injection),
        Fault::WrongRoute | Fault::PacketLoss | Fault::LinkDelay | Fault::ConntrackFull => {
            network::inject(&mut injection)
        }
        _ => application::inject(&mut injection),
    }?;
    Ok(handle)
}

/// Takes the active fault back; none when there is none.
pub(crate) fn clear(state_dir: &Path) -> Result<Option<Truth>> {
    let lab = Lab::load(state_dir)?;
    let Some(active) = lab.fault.clone() else { return Ok(None) };
    let mut failed = None;
    for step in active.undo.iter().rev() {
        // One step that fails must not leave the others in force.
        if let Err(e) = take_back(state_dir, &lab, step) {
            failed = Some(e);
        }
    }
    if let Some(e) = failed {
        return Err(e);
    }
    let truth = Truth { to_unix_ns: Some(unix_ns()), ..active.truth };
    state::update(state_dir, |lab| {
        lab.fault = None;
        lab.past_faults.push(truth.clone());
    })?;
    Ok(Some(truth))
}

fn take_back(state_dir: &Path, lab: &Lab, step: &Undo) -> Result<()> {
    match step {
        Undo::Behave { pod } => control::write(state_dir, pod, &Control::default()),
        Undo::CpuLimit { pod, milli } => resource::set_cpu_limit(state_dir, lab, pod, *milli),
        Undo::Run { argv } => {
            let words: Vec<&str> = argv.iter().map(String::as_str).collect();
            words
                .split_first()
                .map_or(Ok(()), |(program, args)| tools::run(program, args).map(drop))
        }
        Undo::FlushConntrack => conntrack::flush(&lab.node.netns.name),
        Undo::End { process } => {
            process.signal(Signal::TERM);
            if !process.wait_gone(Duration::from_secs(2)) {
                process.signal(Signal::KILL);
            }
            Cgroup::new(&lab.hierarchies, &lab.cgroup_root.join("helper")).destroy()
        }
    }
}
