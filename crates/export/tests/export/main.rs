//! Signals in, OTLP and Prometheus text out, read by others' readers.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

mod grpc;
mod otlp;
mod prometheus;
mod receiver;
mod shop;
