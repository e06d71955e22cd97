//! API, web page and watch loop over a store and a world.
//!
//! [`serve`] answers `http://127.0.0.1:7272`: JSON under `/api/v1` (each answer
//! carries a `schema_version`), every series as Prometheus text at `/metrics`, and one page that
//! needs nothing from anywhere else. What it shows comes from an [`AppState`];
//! [`WorldState`] is the one over a live world and a store, and [`Watch`] looks
//! at that world again and again and keeps what it finds as reports.
#![forbid(unsafe_code)]

mod anomaly;
mod api;
mod guard;
mod page;
mod serve;
mod state;
mod view;
mod watch;
mod world_state;

pub use anomaly::{Anomaly, Level};
pub use serve::{DEFAULT_ADDR, ServeError, Server, serve};
pub use state::{AppState, StateError};
pub use view::{
    Coverage, Health, LossRow, Losses, MapView, ReportView, Reports, SCHEMA_VERSION, ServiceRow,
    Services, Status,
};
pub use watch::{Watch, WatchError};
pub use world_state::WorldState;
