//! Asks "who is this?" by hand.
//!
//! `cargo run -p taproot-kube --example who -- [--objects FILE] [PID | ADDRESS[:PORT]]...`
//!
//! Prints how every source does, then the owner of each pid or address. With
//! `--objects` and no question it prints all that the file says.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use taproot_kube::{Objects, Options, Resolver};
use taproot_model::{Entity, Timestamp};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("who: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut questions: Vec<String> = std::env::args().skip(1).collect();
    let mut options = Options::detect();
    if questions.first().is_some_and(|word| word == "--objects") {
        let file: PathBuf = questions.get(1).ok_or("--objects needs a file")?.into();
        questions.drain(..2);
        if questions.is_empty() {
            return show(&file);
        }
        options.pods_file = Some(file);
    }
    let resolver = Resolver::start(options);
    // Sources answer in their own time.
    std::thread::sleep(Duration::from_secs(2));
    for source in resolver.status() {
        println!("{:<10} {:?}: {}", source.name, source.state, source.detail);
    }
    for question in questions {
        let owner = ask(&resolver, &question)?;
        println!("{question}: {}", owner.map_or_else(|| "nobody known".into(), |o| line(&o)));
    }
    Ok(())
}

fn ask(resolver: &Resolver, question: &str) -> Result<Option<std::sync::Arc<Entity>>, String> {
    if let Ok(pid) = question.parse() {
        return Ok(Some(resolver.resolve_pid(pid)));
    }
    let whole = question.parse::<SocketAddr>().map(|addr| (addr.ip(), addr.port()));
    let (ip, port) = whole
        .or_else(|_| question.parse::<IpAddr>().map(|ip| (ip, 0)))
        .map_err(|_| format!("{question:?} is neither a pid nor an address"))?;
    Ok(resolver.resolve_addr(None, ip, port, Timestamp::now()))
}

fn line(owner: &Entity) -> String {
    let workload = format!("{} {}", owner.workload_kind, owner.workload);
    format!(
        "{} pod={} container={} {workload} [{}]",
        owner.service, owner.pod, owner.container, owner.id
    )
}

fn show(file: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let objects = Objects::parse(&std::fs::read(file)?)?;
    for pod in objects.pod_facts(Timestamp::now()) {
        println!("{pod:#?}");
    }
    for service in objects.services().all() {
        println!("{service:#?}");
    }
    println!("{:?}", objects.node_addresses());
    Ok(())
}
