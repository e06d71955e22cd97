use crate::view::{Health, Losses, MapView, ReportView, Reports, Services};
use serde_json::Value;
use std::time::Duration;
use taproot_store::StoreError;
use taproot_world::view::{Flows, RequestsView};

/// Why a view cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to make it from; the text says what to do.
    #[error("{0}")]
    Unavailable(String),
}

/// What the API and the page show.
///
/// `last` is the time to sum over, counted back from the newest signal. Methods
/// are called on threads that may block, several at a time.
pub trait AppState: Send + Sync + 'static {
    /// Whether signals come in, and since when.
    fn health(&self) -> Health;
    /// Services and who calls whom, with what is out of the ordinary just now.
    fn map(&self, last: Duration) -> Result<MapView, StateError>;
    /// Golden signals of each service and their course.
    fn services(&self, last: Duration) -> Result<Services, StateError>;
    /// Connections.
    fn flows(&self, last: Duration) -> Result<Flows, StateError>;
    /// Requests by route, and some in full.
    fn requests(&self, last: Duration) -> Result<RequestsView, StateError>;
    /// What could not be seen.
    fn losses(&self, last: Duration) -> Result<Losses, StateError>;
    /// Reports, newest first.
    fn reports(&self) -> Result<Reports, StateError>;
    /// One report; `None` if there is none of that id.
    fn report(&self, id: &str) -> Result<Option<ReportView>, StateError>;
    /// Every series, in the text format of Prometheus.
    fn metrics(&self) -> Result<String, StateError>;
    /// What `taproot doctor -o json` says.
    fn doctor(&self) -> Result<Value, StateError>;
}
