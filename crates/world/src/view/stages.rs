use serde::Serialize;
use taproot_model::{Stage, Stages};

/// Where a request's time went, seconds: `receive`, `service` and `send` as its server saw
/// it, or `peer` and `transfer` as its client did. `device` comes before, and `qdisc` after
/// the request's duration. What was not seen is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StagesRow {
    /// In the socket's buffer until it was read.
    pub receive: Option<StageRow>,
    /// From there to the first byte of the answer.
    pub service: Option<StageRow>,
    /// From there to its last byte.
    pub send: Option<f64>,
    /// Of `send`: written, but the socket could not send yet.
    pub send_buffered: Option<f64>,
    /// Of `send`: it is not known when it was written.
    pub send_unknown: Option<f64>,
    /// From the device to the socket.
    pub device: Option<f64>,
    /// From the socket to the device, of the answer's last packet.
    pub qdisc: Option<f64>,
    /// Network and peer, up to the first byte of the answer.
    pub peer: Option<f64>,
    /// From there to its last byte.
    pub transfer: Option<f64>,
}

/// One stage, and why the thread that read the request did not run in it, seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageRow {
    /// All of it.
    pub total: f64,
    /// It waited for a CPU.
    pub queued: f64,
    /// It was stopped by its CPU quota.
    pub throttled: f64,
    /// It is not known whether it waited.
    pub unknown: f64,
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl From<Stage> for StageRow {
    fn from(stage: Stage) -> Self {
        let [total, queued, throttled, unknown] =
            [stage.total, stage.queued, stage.throttled, stage.unknown].map(seconds);
        Self { total, queued, throttled, unknown }
    }
}

impl From<Stages> for StagesRow {
    fn from(stages: Stages) -> Self {
        match stages {
            Stages::Server { receive, service, send, buffer, device, qdisc } => Self {
                receive: Some(receive.into()),
                service: Some(service.into()),
                send: Some(seconds(send)),
                send_buffered: buffer.map(|b| seconds(b.buffered)),
                send_unknown: buffer.map(|b| seconds(b.unknown)),
                device: device.map(seconds),
                qdisc: qdisc.map(seconds),
                ..Self::default()
            },
            Stages::Client { peer, transfer } => Self {
                peer: Some(seconds(peer)),
                transfer: Some(seconds(transfer)),
                ..Self::default()
            },
        }
    }
}
