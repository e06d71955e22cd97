//! What a trace costs the traffic: CPU time of this process for one UDP request and
//! answer between two namespaces on a bridge, without a trace, with one that does
//! not match, and with one that does. Needs root.
//!
//! `cargo run --release -p taproot-probes --example trace_cost [ROUNDS]`
//!
//! Softirqs run in the context of the sender here, so that the time of the whole
//! way is this process's own; the variants take turns, and medians are compared.
#![allow(missing_docs, reason = "a program")]

#[path = "../tests/veth/mod.rs"]
mod veth;

use std::error::Error;
use std::net::{IpAddr, UdpSocket};

use rustix::time::{ClockId, clock_gettime};
use taproot_probes::trace::{Compare, Field, Options, Test, Tracer};
use veth::{A, B, Bridged, Netns};

const PORT: u16 = 5400;
/// Requests of one turn.
const REQUESTS: u32 = 4000;

fn main() -> Result<(), Box<dyn Error>> {
    let turns: usize = std::env::args().nth(1).map_or(Ok(7), |text| text.parse())?;
    let bridged = Bridged::new()?;
    let server = udp(&bridged.b, B, PORT)?;
    let client = udp(&bridged.a, A, 0)?;
    std::thread::scope(|scope| {
        scope.spawn(|| echo(&server));
        let measured = measure(&client, turns);
        // An empty request ends the server.
        client.send_to(&[], (B, PORT))?;
        measured
    })
}

fn measure(client: &UdpSocket, turns: usize) -> Result<(), Box<dyn Error>> {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..turns {
        times[0].push(turn(client)?);
        let tracer = start(9)?;
        times[1].push(turn(client)?);
        drop(tracer);
        // Nobody reads: the kernel's side alone, events until the ring is full.
        let mut tracer = start(PORT)?;
        times[2].push(turn(client)?);
        tracer.stop()?;
        let account = tracer.account()?;
        println!("hops a request: {:.1}", account.produced as f64 / f64::from(REQUESTS));
    }
    let [base, other, matching] = times.map(median);
    println!("none        {base:>8.0} ns");
    println!("no match    {other:>8.0} ns  x{:.2}", other / base);
    println!("match       {matching:>8.0} ns  x{:.2}", matching / base);
    Ok(())
}

/// Packets from or to a port.
fn start(port: u16) -> Result<Tracer, taproot_probes::Error> {
    let test = |field, no| Test {
        field,
        compare: Compare::Equal,
        mask: u32::MAX,
        value: u32::from(port),
        yes: Test::ACCEPT,
        no,
    };
    let tests = vec![test(Field::SourcePort, 1), test(Field::DestinationPort, Test::REJECT)];
    Tracer::start(&Options { tests, ring_bytes: 64 << 20, budget: 0 })
}

/// CPU nanoseconds of one request and its answer.
fn turn(client: &UdpSocket) -> std::io::Result<f64> {
    let begin = cpu_nanos();
    for round in 0..REQUESTS {
        client.send_to(&round.to_be_bytes(), (B, PORT))?;
        client.recv(&mut [0; 64])?;
    }
    Ok((cpu_nanos() - begin) as f64 / f64::from(REQUESTS))
}

fn echo(server: &UdpSocket) {
    let mut buffer = [0; 64];
    while let Ok((length, from)) = server.recv_from(&mut buffer) {
        if length == 0 || server.send_to(&buffer[..length], from).is_err() {
            return;
        }
    }
}

fn udp(netns: &Netns, address: &str, port: u16) -> Result<UdpSocket, Box<dyn Error>> {
    let address: IpAddr = address.parse()?;
    Ok(netns.inside(|| UdpSocket::bind((address, port)))?)
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
