//! Starting, finding and removing a lab.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};

use crate::cgroup::{self, Cgroup};
use crate::control::{self, Control, Run};
use crate::error::{Error, Result};
use crate::faults::{Fault, FaultHandle, Params, inject};
use crate::options::{Names, Options};
use crate::truth::Load;
use crate::{layout, net, state, tools};

/// Longest wait until traffic flows.
const READY_SECONDS: u64 = 60;

/// A running lab. Dropping an owned one removes it.
#[derive(Debug)]
pub struct Lab {
    names: Names,
    supervisor: Option<Child>,
    owned: bool,
}

/// What was found and removed by [`down`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Processes ended.
    pub processes: usize,
    /// Network namespaces deleted.
    pub namespaces: usize,
    /// Whether cgroups were there.
    pub cgroups: bool,
    /// Whether a state directory was there.
    pub state: bool,
}

impl Removed {
    /// True when there was nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Lab {
    /// Starts a lab and waits until its traffic flows. Leftovers of a crashed
    /// lab of the same name are removed first.
    ///
    /// # Errors
    /// [`Error::NotRoot`], [`Error::MissingTool`], [`Error::AlreadyUp`], or what
    /// the kernel refused; whatever was made until then is removed again.
    pub fn up(options: &Options) -> Result<Self> {
        require_root()?;
        tools::require()?;
        let names = options.names()?;
        refuse_running(&names)?;
        refuse_foreign_directory(&names.state_dir)?;
        remove(&names)?;
        let mut lab = Self { names, supervisor: None, owned: true };
        // From here on, an error drops `lab`, which removes what was made.
        lab.prepare(options)?;
        lab.start()?;
        lab.wait_ready()?;
        Ok(lab)
    }

    /// Finds a running lab by its state directory, without owning it.
    ///
    /// # Errors
    /// [`Error::NotUp`] or [`Error::State`].
    pub fn open(state_dir: &Path) -> Result<Self> {
        let state = state::Lab::load(state_dir)?;
        let names = Names::new(&state.name, Some(state_dir))?;
        Ok(Self { names, supervisor: None, owned: false })
    }

    /// Leaves the lab running when the handle goes.
    pub fn detach(mut self) {
        self.owned = false;
    }

    /// Removes the lab.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn down(mut self) -> Result<Removed> {
        self.owned = false;
        let removed = remove(&self.names);
        self.reap();
        removed
    }

    /// Where the lab's state lies.
    pub fn state_dir(&self) -> &Path {
        &self.names.state_dir
    }

    /// The lab's truth as it is now.
    ///
    /// # Errors
    /// [`Error::NotUp`] or [`Error::State`].
    pub fn state(&self) -> Result<state::Lab> {
        state::Lab::load(&self.names.state_dir)
    }

    /// What the load generator counted, at most half a second old.
    ///
    /// # Errors
    /// [`Error::Io`] before the load has started.
    pub fn load(&self) -> Result<Load> {
        Load::read(&self.names.state_dir)
    }

    /// Puts a fault in force.
    ///
    /// # Errors
    /// [`Error::FaultActive`], [`Error::BadParameter`], or what the kernel
    /// refused; whatever was done until then is taken back.
    pub fn inject(&self, fault: Fault, params: &Params) -> Result<FaultHandle> {
        require_root()?;
        inject::inject(&self.names.state_dir, fault, params)
    }

    /// Takes the active fault back; none when there is none.
    ///
    /// # Errors
    /// What the first step that could not be undone gave.
    pub fn clear(&self) -> Result<Option<state::Truth>> {
        inject::clear(&self.names.state_dir)
    }

    /// Stops the load, waits until every request is answered or given up, and
    /// gives the final counts; [`Lab::resume`] lets it flow again.
    ///
    /// # Errors
    /// [`Error::Timeout`] when requests stay open.
    pub fn pause(&self) -> Result<Load> {
        let paused = Control { run: Run::Paused, ..Control::default() };
        control::write(&self.names.state_dir, "loadgen", &paused)?;
        // A sender that slept through the pause may still send one request.
        std::thread::sleep(Duration::from_millis(300));
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            let before = self.load()?;
            std::thread::sleep(Duration::from_millis(1100));
            let load = self.load()?;
            let failed: u64 = load.failures.values().sum();
            if load.sent == load.answered + failed && load.sent == before.sent {
                return Ok(load);
            }
            if Instant::now() > end {
                let what = "an end to all requests under way".into();
                return Err(Error::Timeout { what, seconds: 15, hint: "see loadgen's log".into() });
            }
        }
    }

    /// Lets the load flow again after [`Lab::pause`].
    ///
    /// # Errors
    /// [`Error::Io`] when the lab is gone.
    pub fn resume(&self) -> Result<()> {
        control::write(&self.names.state_dir, "loadgen", &Control::default())
    }

    /// Makes the state directory and the network.
    fn prepare(&self, options: &Options) -> Result<()> {
        let dir = &self.names.state_dir;
        for sub in ["bin", "config", "control", "pods", "truth"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        let mut lab = layout::lab(&self.names, options, cgroup::detect()?)?;
        lab.save(dir)?;
        let catalog = dir.join("config").join("catalog.json");
        fs::write(&catalog, "{}").map_err(Error::io("write", &catalog))?;
        for pod in &lab.pods {
            let link = dir.join("bin").join(&pod.name);
            symlink(&lab.launcher.program, &link).map_err(Error::io("create", &link))?;
            control::write(dir, &pod.name, &Control::default())?;
        }
        net::create(&lab)?;
        lab.node.netns = net::netns(&lab.node.netns.name)?;
        for pod in &mut lab.pods {
            pod.netns = net::netns(&pod.netns.name)?;
        }
        lab.save(dir)
    }

    fn start(&mut self) -> Result<()> {
        let dir = &self.names.state_dir;
        let lab = state::Lab::load(dir)?;
        let path = dir.join("supervisor.log");
        let log = fs::File::create(&path).map_err(Error::io("create", &path))?;
        let errors = log.try_clone().map_err(Error::io("open", &path))?;
        let child = Command::new(&lab.launcher.program)
            .args(&lab.launcher.prefix)
            .arg("supervisor")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Its own group, so that Ctrl-C reaches only the one who answers for it.
            .process_group(0)
            .spawn()
            .map_err(Error::io("run", &lab.launcher.program))?;
        self.supervisor = Some(child);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(READY_SECONDS);
        while !self.state()?.ready {
            let ended = self.supervisor.as_mut().is_some_and(|c| !matches!(c.try_wait(), Ok(None)));
            if ended || Instant::now() > end {
                return Err(Error::Timeout {
                    what: "traffic through the shop".into(),
                    seconds: READY_SECONDS,
                    hint: format!("the supervisor said: {}", self.supervisor_log()),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn supervisor_log(&self) -> String {
        let text = fs::read_to_string(self.names.state_dir.join("supervisor.log"));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        if lines.is_empty() { "nothing".into() } else { lines.join(" | ") }
    }

    /// Collects the supervisor's exit status, so that no zombie stays.
    fn reap(&mut self) {
        if let Some(mut child) = self.supervisor.take() {
            // It was killed by `remove`; there is nothing more to learn from it.
            let _ = child.wait();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owned {
            if let Err(e) = remove(&self.names) {
                eprintln!("the lab could not be removed: {e}");
            }
            self.reap();
        }
    }
}

/// Removes the lab of this name with all its leftovers, also after a crash.
/// Without a lab it removes nothing and succeeds.
///
/// # Errors
/// What could not be removed.
pub(crate) fn down(name: &str, state_dir: Option<&Path>) -> Result<Removed> {
    require_root()?;
    let names = Names::new(name, state_dir)?;
    remove(&names)
}

/// Names of all labs that exist or left something behind.
pub(crate) fn list() -> Vec<PathBuf> {
    let entries = fs::read_dir("/run").into_iter().flatten().flatten();
    let ours = |e: &fs::DirEntry| {
        e.file_name().to_string_lossy().starts_with("taproot-lab")
            && e.path().join("lab.json").exists()
    };
    entries.filter(ours).map(|e| e.path()).collect()
}

fn remove(names: &Names) -> Result<Removed> {
    let mut removed = Removed::default();
    let known = state::Lab::load(&names.state_dir).ok();
    if let Some(supervisor) = known.as_ref().and_then(|l| l.supervisor)
        && supervisor.is_alive()
    {
        // It ends its pods in good order; what it does not manage is killed below.
        supervisor.signal(Signal::TERM);
        if !supervisor.wait_gone(Duration::from_secs(4)) {
            supervisor.signal(Signal::KILL);
        }
        removed.processes += 1;
    }
    let hierarchies = match &known {
        Some(lab) if !lab.hierarchies.is_empty() => lab.hierarchies.clone(),
        _ => cgroup::detect()?,
    };
    let group = Cgroup::new(&hierarchies, &names.cgroup_root);
    removed.cgroups = group.exists();
    removed.processes += group.processes().len();
    // Each step is tried even when one before it failed.
    let cgroups = group.destroy();
    removed.namespaces = net::existing(names).len();
    let namespaces = net::destroy(names);
    removed.state = names.state_dir.join("lab.json").exists();
    let state = remove_state(&names.state_dir);
    cgroups.and(namespaces).and(state).map(|()| removed)
}

/// Removes the state directory, if it is one.
fn remove_state(dir: &Path) -> Result<()> {
    if !dir.join("lab.json").exists() && !dir.join("lab.lock").exists() {
        return Ok(());
    }
    fs::remove_dir_all(dir).map_err(Error::io("remove", dir))
}

fn refuse_running(names: &Names) -> Result<()> {
    let running = state::Lab::load(&names.state_dir)
        .is_ok_and(|lab| lab.supervisor.is_some_and(crate::process::ProcessId::is_alive));
    if running { Err(Error::AlreadyUp { name: names.lab.clone() }) } else { Ok(()) }
}

/// `down` removes the whole state directory: it must hold nothing else.
fn refuse_foreign_directory(dir: &Path) -> Result<()> {
    let filled = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    if filled && !dir.join("lab.json").exists() {
        return Err(Error::Usage(format!(
            "{} holds files that are not a lab's: give an empty directory",
            dir.display()
        )));
    }
    Ok(())
}

fn require_root() -> Result<()> {
    if geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}
