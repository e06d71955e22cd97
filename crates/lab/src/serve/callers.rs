//! Pods that mainly call others: the reporter, and the extras.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Result;
use crate::serve::client::{Call, Policy, Pool};
use crate::serve::http::Response;
use crate::serve::server::Server;
use crate::serve::{Pod, redis};

fn policy() -> Policy {
    let wait = Duration::from_secs(3);
    Policy { max_uses: 5, max_age: Duration::from_secs(3), connect: wait, answer: wait }
}

/// Calls `path` at `to` once in `every`, and logs what it got.
fn call_forever(host: &str, to: SocketAddr, path: &str, every: Duration) {
    let pool = Pool::new(host, policy());
    for number in 0_u64.. {
        match pool.call(Call::get(path), || Ok(to)) {
            Ok(answer) if number.is_multiple_of(20) => {
                println!("level=info msg=\"{host} answered\" status={}", answer.response.status);
            }
            Ok(_) => {}
            Err(e) => println!("level=error msg=\"{host} did not answer\" err=\"{e}\""),
        }
        std::thread::sleep(every);
    }
}

/// The multi-homed pod: lists the pods at the API server twice a second.
pub(crate) fn reporter(pod: &Pod) -> Result<()> {
    let api = pod.service("kubernetes")?;
    call_forever("kubernetes", api, "/api/v1/namespaces/shop/pods", Duration::from_millis(500));
    Ok(())
}

/// Time the servers of the lab need to come up: whoever is called by a server
/// of the first hour is called no sooner.
const WARM_UP: Duration = Duration::from_secs(2);

/// Serves, and calls itself through its own service address, and the host
/// network pod by its own address.
pub(crate) fn echo(pod: &Pod) -> Result<()> {
    let (own, host) = (pod.service("echo")?, pod.address_of("hostweb")?);
    spawn_calls("echo", own);
    spawn_calls("hostweb", host);
    serve_ok(pod)
}

/// Serves in the node's network namespace, and calls the inventory from there.
pub(crate) fn hostweb(pod: &Pod) -> Result<()> {
    let inventory = pod.service("inventory")?;
    std::thread::spawn(move || {
        std::thread::sleep(WARM_UP);
        call_forever("inventory", inventory, "/stock/1", Duration::from_millis(500));
    });
    serve_ok(pod)
}

fn spawn_calls(host: &'static str, to: SocketAddr) {
    std::thread::spawn(move || {
        std::thread::sleep(WARM_UP);
        call_forever(host, to, "/", Duration::from_millis(500));
    });
}

fn serve_ok(pod: &Pod) -> Result<()> {
    pod.ended(Server::new(pod.port()?, pod.watch.clone(), |_| Response::json(200, "{}")).run())
}

/// The first owner of the reused address: calls the inventory, for a while.
pub(crate) fn job_inventory(pod: &Pod) -> Result<()> {
    let to = pod.service("inventory")?;
    call_forever("inventory", to, "/stock/2", Duration::from_millis(200));
    Ok(())
}

/// The second owner of the reused address: calls the cache.
pub(crate) fn job_cache(pod: &Pod) -> Result<()> {
    let client = redis::Client::new(pod.service("cache")?);
    loop {
        if let Err(e) = client.command(&[b"PING"]) {
            println!("level=error msg=\"cache did not answer\" err=\"{e}\"");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
