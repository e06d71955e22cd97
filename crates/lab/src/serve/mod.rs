//! The programs that run inside the pods: this binary, executed again with
//! `serve ROLE`.

mod batch;
mod callers;
mod client;
pub(crate) mod conntrack;
pub(crate) mod delay;
mod dns;
mod gateway;
mod http;
mod inventory;
mod launch;
mod leak;
mod loadgen;
mod product;
mod redis;
mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::control::Watch;
use crate::error::{Error, Result};
use crate::state::Lab;
use crate::supervisor;

pub(crate) use gateway::nginx_config;
pub(crate) use launch::Launch;

/// Runs the role named by the words after `serve`; returns only when it ended.
///
/// # Errors
/// [`Error::Usage`] for an unknown role, otherwise what ended the role.
pub fn main(args: &[String]) -> Result<()> {
    let (role, rest) = args.split_first().ok_or_else(usage)?;
    match (role.as_str(), rest) {
        ("launch", [spec]) => launch::run(Path::new(spec)),
        ("supervisor", [state]) => supervisor::run(Path::new(state)),
        ("delay", [state, words @ ..]) => delay::run(Path::new(state), words),
        ("conntrack", [state]) => conntrack::run(Path::new(state)),
        (role, [state, pod]) => run(role, &Pod::open(Path::new(state), pod)?),
        _ => Err(usage()),
    }
}

fn usage() -> Error {
    Error::Usage("usage: serve ROLE STATE-DIR POD (the lab starts its pods so by itself)".into())
}

fn run(role: &str, pod: &Pod) -> Result<()> {
    match role {
        "loadgen" => loadgen::run(pod),
        "gateway" => gateway::run(pod),
        "product" => product::run(pod),
        "inventory" => inventory::run(pod),
        "cache" => pod.ended(redis::serve(pod.port()?)),
        "dns" => run_dns(pod),
        "apiserver" => inventory::run_api(pod),
        "reporter" => callers::reporter(pod),
        "batch" => batch::run(pod),
        "echo" => callers::echo(pod),
        "hostweb" => callers::hostweb(pod),
        "job-inventory" => callers::job_inventory(pod),
        "job-cache" => callers::job_cache(pod),
        _ => Err(usage()),
    }
}

fn run_dns(pod: &Pod) -> Result<()> {
    let lab = pod.lab.clone();
    let lookup = move |name: &str| {
        let service = name.strip_suffix(dns::DOMAIN)?.strip_suffix('.')?;
        lab.service(service).map(|s| s.cluster_ip)
    };
    pod.ended(dns::serve(pod.port()?, &pod.watch, lookup))
}

/// What a program knows of the pod it runs in.
pub(crate) struct Pod {
    state_dir: PathBuf,
    name: String,
    lab: Lab,
    watch: Watch,
}

impl Pod {
    fn open(state_dir: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            state_dir: state_dir.to_path_buf(),
            name: name.to_owned(),
            lab: Lab::load(state_dir)?,
            watch: Watch::start(state_dir, name)?,
        })
    }

    /// Port this pod listens on.
    fn port(&self) -> Result<u16> {
        let port = self.lab.pod(&self.name).and_then(|p| p.port);
        port.ok_or_else(|| Error::Usage(format!("pod {} has no port", self.name)))
    }

    /// Image this container was started from.
    fn image(&self) -> String {
        self.lab.pod(&self.name).map_or_else(String::new, |p| p.container.image.clone())
    }

    /// Address of a service.
    fn service(&self, name: &str) -> Result<SocketAddr> {
        let service = self.lab.service(name);
        let service = service.ok_or_else(|| Error::Usage(format!("no service {name}")))?;
        Ok(SocketAddr::from((service.cluster_ip, service.port)))
    }

    /// Address and port of a pod, past any service.
    fn address_of(&self, pod: &str) -> Result<SocketAddr> {
        let found = self.lab.pod(pod).and_then(|p| Some((p.ip()?, p.port?)));
        let (ip, port): (Ipv4Addr, u16) =
            found.ok_or_else(|| Error::Usage(format!("pod {pod} serves nothing")))?;
        Ok(SocketAddr::from((ip, port)))
    }

    /// Turns the end of a server into the lab's result.
    fn ended(&self, result: std::io::Result<()>) -> Result<()> {
        result.map_err(Error::io("serve as", &self.name))
    }
}
