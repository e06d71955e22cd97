//! The process that plays kubelet and container runtime: starts containers,
//! writes their logs, restarts them, and takes all of them down at the end.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cgroup::Cgroup;
use crate::control::{self, Control, Run, Watch};
use crate::cri;
use crate::error::{Error, Result};
use crate::layout::{random_hex, unix_ns};
use crate::process::{self, ProcessId};
use crate::serve::{Launch, nginx_config};
use crate::state::{self, Container, Lab, Pod, Termination, write_json};
use crate::truth::Load;
use crate::{net, plan};

const TICK: Duration = Duration::from_millis(50);
/// First wait before a restart; doubled each time (a kubelet takes 10 s to 5 min).
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// A container that ran so long starts afresh.
const STEADY: Duration = Duration::from_mins(1);
/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// How long the first pod with the reused address lives.
const JOB_LIFE: Duration = Duration::from_secs(5);

/// Runs the lab in `state_dir` until it is told to end by SIGTERM or SIGINT.
pub(crate) fn run(state_dir: &Path) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(Error::io("handle signals of", "the supervisor"))?;
    }
    let own = ProcessId::of(std::process::id().cast_signed());
    let lab = state::update(state_dir, |lab| {
        lab.supervisor = own;
        lab.clone()
    })?;
    join_own_cgroup(&lab)?;
    let kubelet = Arc::new(Kubelet { state_dir: state_dir.to_path_buf(), lab, stop });
    let result = kubelet.start_all().map(|pods| kubelet.watch_over(pods));
    kubelet.stop.store(true, Ordering::Relaxed);
    result
}

/// The supervisor has a cgroup of the lab too, so that `down` finds it.
fn join_own_cgroup(lab: &Lab) -> Result<()> {
    let group = Cgroup::new(&lab.hierarchies, &lab.cgroup_root.join("supervisor"));
    group.create()?;
    let pid = std::process::id().to_string();
    for file in group.join_files() {
        fs::write(&file, &pid).map_err(Error::io("join", &file))?;
    }
    Ok(())
}

struct Kubelet {
    state_dir: PathBuf,
    lab: Lab,
    stop: Arc<AtomicBool>,
}

type Threads = Vec<JoinHandle<()>>;

impl Kubelet {
    /// Starts servers, waits until they answer, then starts callers.
    fn start_all(self: &Arc<Self>) -> Result<Threads> {
        let job = |p: &&Pod| p.name == plan::FIRST_JOB || p.name == plan::SECOND_JOB;
        let (servers, callers): (Vec<&Pod>, Vec<&Pod>) =
            self.lab.pods.iter().filter(|p| !job(p)).partition(|p| p.port.is_some());
        let mut threads =
            servers.into_iter().map(|p| self.start(p)).collect::<Result<Threads>>()?;
        self.wait_for_servers()?;
        for pod in callers {
            threads.push(self.start(pod)?);
        }
        if self.lab.pod(plan::FIRST_JOB).is_some() {
            let kubelet = Arc::clone(self);
            threads.push(std::thread::spawn(move || {
                if let Err(e) = kubelet.run_jobs() {
                    eprintln!("jobs: {e}");
                }
            }));
        }
        self.wait_for_load()?;
        state::update(&self.state_dir, |lab| lab.ready = true)?;
        Ok(threads)
    }

    fn watch_over(&self, pods: Threads) {
        while !self.stopping() {
            std::thread::sleep(TICK);
        }
        for pod in pods {
            // A pod's thread that panicked left its container; `down` finds it.
            let _ = pod.join();
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn wait_for(&self, what: &str, seconds: u64, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !ready() && !self.stopping() {
            if Instant::now() > end {
                let hint = format!("see the logs below {}", self.state_dir.join("pods").display());
                return Err(Error::Timeout { what: what.into(), seconds, hint });
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// As a kubelet's TCP probes do it: from the node to each pod's port.
    fn wait_for_servers(&self) -> Result<()> {
        for pod in self.lab.pods.iter().filter(|p| p.name != "dns") {
            let (Some(ip), Some(port)) = (pod.ip(), pod.port) else { continue };
            let to = SocketAddr::from((ip, port));
            let answers = || {
                net::inside(&self.lab.node.netns.name, || {
                    TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok()
                })
                .unwrap_or(false)
            };
            self.wait_for(&format!("pod {} answering on {to}", pod.name), 20, answers)?;
        }
        Ok(())
    }

    fn wait_for_load(&self) -> Result<()> {
        if self.lab.requests_per_second <= 0.0 {
            return Ok(());
        }
        let flowing = || {
            let load = Load::read(&self.state_dir).unwrap_or_default();
            load.by_status.range(..400).map(|(_, n)| n).sum::<u64>() >= 3
        };
        self.wait_for("traffic through the shop", 20, flowing)
    }

    fn start(self: &Arc<Self>, pod: &Pod) -> Result<JoinHandle<()>> {
        let group = Cgroup::new(&self.lab.hierarchies, &pod.cgroup);
        group.create()?;
        group.limit(&pod.limits)?;
        fs::create_dir_all(&pod.log_dir).map_err(Error::io("create", &pod.log_dir))?;
        let watch = Watch::start(&self.state_dir, &pod.name)?;
        let (kubelet, name) = (Arc::clone(self), pod.name.clone());
        Ok(std::thread::spawn(move || kubelet.keep_running(&name, &watch)))
    }

    /// Runs a pod's container again and again until the lab ends.
    fn keep_running(&self, pod: &str, watch: &Watch) {
        let mut backoff = FIRST_BACKOFF;
        let mut first = true;
        while !self.stopping() {
            if watch.get().run == Run::Stopped {
                std::thread::sleep(TICK);
                continue;
            }
            let started = Instant::now();
            let image = self.image(pod, &watch.get());
            if let Err(e) = self.run_container(pod, &image, watch, first) {
                eprintln!("pod {pod}: {e}");
            }
            first = false;
            backoff = if started.elapsed() > STEADY { FIRST_BACKOFF } else { backoff };
            let end = Instant::now() + backoff;
            while Instant::now() < end && !self.must_end(pod, &image, watch) {
                std::thread::sleep(TICK);
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// Image a pod is asked to run: its own, unless a rollout brings another.
    fn image(&self, pod: &str, told: &Control) -> String {
        let own = || self.lab.pod(pod).map_or_else(String::new, |p| p.container.image.clone());
        told.image.clone().unwrap_or_else(own)
    }

    /// Whether a container of this image is not to run any longer, nor to be waited for.
    fn must_end(&self, pod: &str, image: &str, watch: &Watch) -> bool {
        let told = watch.get();
        self.stopping() || told.run == Run::Stopped || self.image(pod, &told) != image
    }

    /// Runs one container to its end.
    fn run_container(&self, pod: &str, image: &str, watch: &Watch, first: bool) -> Result<()> {
        let id = random_hex(32)?;
        let pod = state::update(&self.state_dir, |lab| {
            let pod = lab.pod_mut(pod)?;
            pod.restarts += u32::from(!first);
            pod.container = Container {
                cgroup: pod.cgroup.join(&id),
                id,
                image: image.to_owned(),
                process: None,
                log_path: pod.log_dir.join(format!("{}.log", pod.restarts)),
                started_unix_ns: unix_ns(),
                ..pod.container.clone()
            };
            Some(pod.clone())
        })?
        .ok_or_else(|| Error::Usage("the pod is not in the lab's state".into()))?;
        let group = Cgroup::new(&self.lab.hierarchies, &pod.container.cgroup);
        group.create()?;
        group.limit(&pod.limits)?;
        let (mut child, logs) = self.spawn(&pod, &group)?;
        let pid = child.id().cast_signed();
        self.change_container(&pod, |c| c.process = ProcessId::of(pid))?;
        let (status, stopped) = self.wait_for_end(&mut child, &pod, watch)?;
        let reason = reason(status, stopped, group.oom_kills());
        group.destroy()?;
        for log in logs {
            // A log that cannot be written any more has nothing left to say.
            let _ = log.join();
        }
        self.record_end(&pod, pid, status, reason)
    }

    fn change_container(&self, pod: &Pod, change: impl FnOnce(&mut Container)) -> Result<()> {
        state::update(&self.state_dir, |lab| {
            if let Some(pod) = lab.pod_mut(&pod.name) {
                change(&mut pod.container);
            }
        })
    }

    fn record_end(&self, pod: &Pod, pid: i32, status: ExitStatus, reason: &str) -> Result<()> {
        let end = Termination {
            container_id: pod.container.id.clone(),
            pid,
            exit_code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            signal: status.signal(),
            reason: reason.into(),
            started_unix_ns: pod.container.started_unix_ns,
            finished_unix_ns: unix_ns(),
        };
        state::update(&self.state_dir, |lab| {
            if let Some(pod) = lab.pod_mut(&pod.name) {
                pod.container.process = None;
                pod.history.push(end);
            }
        })
    }

    fn spawn(&self, pod: &Pod, group: &Cgroup) -> Result<(Child, Threads)> {
        let launch = Launch {
            join: group.join_files(),
            netns: pod.netns.name.clone(),
            files: pod.limits.files,
            cpu: pod.limits.cpu,
            argv: self.command_line(pod)?,
        };
        let spec = self.state_dir.join("config").join(format!("{}.launch.json", pod.name));
        write_json(&spec, &launch)?;
        let launcher = &self.lab.launcher;
        let mut child = Command::new(&launcher.program)
            .args(&launcher.prefix)
            .arg("launch")
            .arg(&spec)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Error::io("run", &launcher.program))?;
        let path = &pod.container.log_path;
        let log = Arc::new(Mutex::new(File::create(path).map_err(Error::io("create", path))?));
        let out = child.stdout.take().map(|pipe| copy_log(pipe, "stdout", &log));
        let err = child.stderr.take().map(|pipe| copy_log(pipe, "stderr", &log));
        Ok((child, out.into_iter().chain(err).collect()))
    }

    /// Program and arguments of a pod's container.
    fn command_line(&self, pod: &Pod) -> Result<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let config = self.state_dir.join("config");
        let port = pod.port.unwrap_or_default();
        match pod.container.image.as_str() {
            "nginx" => {
                let dir = config.join("nginx");
                fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
                let product = self.lab.service("product").map(|s| (s.cluster_ip, s.port));
                let product = product.ok_or_else(|| Error::Usage("no service product".into()))?;
                let file = config.join("gateway.nginx.conf");
                let text = nginx_config(port, product.into(), &dir.to_string_lossy());
                fs::write(&file, text).map_err(Error::io("write", &file))?;
                Ok(words(&["nginx", "-e", "stderr", "-c", &file.to_string_lossy()]))
            }
            "redis" => Ok(words(&[
                "redis-server",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
                "--protected-mode",
                "no",
                "--dir",
                &config.to_string_lossy(),
            ])),
            _ => {
                // Through a link of the pod's name, so that the process bears it.
                let program = self.state_dir.join("bin").join(&pod.name);
                let mut argv = vec![program.to_string_lossy().into_owned()];
                argv.extend(self.lab.launcher.prefix.iter().cloned());
                argv.push(pod.role.clone());
                argv.push(self.state_dir.to_string_lossy().into_owned());
                argv.push(pod.name.clone());
                Ok(argv)
            }
        }
    }

    /// Waits for the container's end, or brings it about when told so.
    fn wait_for_end(
        &self,
        child: &mut Child,
        pod: &Pod,
        watch: &Watch,
    ) -> Result<(ExitStatus, bool)> {
        let pid = child.id().cast_signed();
        let mut asked: Option<Instant> = None;
        loop {
            if let Some(status) = child.try_wait().map_err(Error::io("wait for", "a pod"))? {
                return Ok((status, asked.is_some()));
            }
            match asked {
                None if self.must_end(&pod.name, &pod.container.image, watch) => {
                    process::send(pid, Signal::TERM);
                    asked = Some(Instant::now());
                }
                Some(at) if at.elapsed() > GRACE => process::send(pid, Signal::KILL),
                _ => {}
            }
            std::thread::sleep(TICK);
        }
    }

    /// Two pods, one after the other, with the same address.
    fn run_jobs(self: &Arc<Self>) -> Result<()> {
        let find = |name: &str| {
            self.lab.pod(name).cloned().ok_or_else(|| Error::Usage(format!("no pod {name}")))
        };
        let (mut first, mut second) = (find(plan::FIRST_JOB)?, find(plan::SECOND_JOB)?);
        let one = self.start(&first)?;
        let end = Instant::now() + JOB_LIFE;
        while Instant::now() < end && !self.stopping() {
            std::thread::sleep(TICK);
        }
        self.end_pod(&mut first, one)?;
        if self.stopping() {
            return Ok(());
        }
        net::plug(&self.lab, &second)?;
        second.started_unix_ns = unix_ns();
        state::update(&self.state_dir, |lab| {
            if let Some(pod) = lab.pod_mut(&second.name) {
                pod.started_unix_ns = second.started_unix_ns;
            }
        })?;
        // Its thread ends with the lab.
        let _ = self.start(&second)?.join();
        Ok(())
    }

    /// Deletes a pod as Kubernetes would: container, cgroup, address.
    fn end_pod(&self, pod: &mut Pod, thread: JoinHandle<()>) -> Result<()> {
        let control = Control { run: Run::Stopped, ..Control::default() };
        control::write(&self.state_dir, &pod.name, &control)?;
        let end = Instant::now() + Duration::from_secs(5);
        let running = || {
            let lab = Lab::load(&self.state_dir);
            lab.is_ok_and(|l| l.pod(&pod.name).is_some_and(|p| p.container.process.is_some()))
        };
        while running() && Instant::now() < end {
            std::thread::sleep(TICK);
        }
        drop(thread);
        Cgroup::new(&self.lab.hierarchies, &pod.cgroup).destroy()?;
        net::unplug(&self.lab, pod)?;
        state::update(&self.state_dir, |lab| {
            if let Some(pod) = lab.pod_mut(&pod.name) {
                pod.ended_unix_ns = Some(unix_ns());
            }
        })
    }
}

fn copy_log(
    pipe: impl std::io::Read + Send + 'static,
    stream: &'static str,
    log: &Arc<Mutex<File>>,
) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        if let Err(e) = cri::copy(pipe, stream, &log) {
            eprintln!("log: {e}");
        }
    })
}

fn reason(status: ExitStatus, stopped: bool, oom_kills: u64) -> &'static str {
    match status.code() {
        _ if stopped => "Stopped",
        None if oom_kills > 0 => "OOMKilled",
        Some(0) => "Completed",
        _ => "Error",
    }
}
