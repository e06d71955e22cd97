//! What the cluster says happened, by a watch of the API server.
//!
//! No field of an event that can be selected tells the node, so warnings of the whole
//! cluster are watched (some a minute), and those of other nodes are passed over here.
//! The watch begins at the present: what happened before is not told.

use super::Source;
use crate::http::Http;
use crate::objects::{Watched, list_version, watched};
use crate::resolver::{HttpTarget, Shared};
use std::time::Duration;
use taproot_model::Name;

const JSON: &str = "application/json";

/// Only warnings: what is normal is told by the objects themselves.
const WARNINGS: &str = "/api/v1/events?fieldSelector=type%3DWarning";

/// Between two watches, which the server ends.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches the API server's events.
pub(super) struct Events {
    target: HttpTarget,
    version: Option<Name>,
    told: u64,
}

impl Events {
    pub(super) fn new(target: HttpTarget) -> Self {
        Self { target, version: None, told: 0 }
    }

    /// Follows the watch until the server ends it.
    fn follow(&mut self, http: &Http, from: &Name, shared: &Shared) -> Result<(), String> {
        let path = format!(
            "{WARNINGS}&watch=1&allowWatchBookmarks=true&timeoutSeconds=10&resourceVersion={from}"
        );
        let mut failure = None;
        let Self { version, told, .. } = self;
        let outcome = http.lines(&path, JSON, |line| {
            match watched(line) {
                Ok((_, Watched::Expired)) => {
                    *version = None;
                    return false;
                }
                Ok((seen, said)) => {
                    if !seen.is_empty() {
                        *version = Some(seen);
                    }
                    if let Watched::Event(Some(fact)) = said {
                        *told += 1;
                        shared.happened(vec![fact]);
                    }
                }
                Err(why) => failure = Some(why.to_string()),
            }
            !shared.is_stopping()
        });
        outcome.map_err(|why| why.to_string())?;
        failure.map_or(Ok(()), Err)
    }
}

impl Source for Events {
    fn name(&self) -> &'static str {
        "cluster-events"
    }

    fn interval(&self, _: &Shared) -> Duration {
        PAUSE
    }

    fn refresh(&mut self, shared: &Shared) -> Result<String, String> {
        let http = Http::new(&self.target).map_err(|why| why.to_string())?;
        let Some(from) = self.version.clone() else {
            let list = http.get(&format!("{WARNINGS}&limit=1"), JSON);
            let version = list_version(&list.map_err(|why| why.to_string())?);
            self.version = Some(version.map_err(|why| format!("{}: {why}", http.url()))?);
            return Ok(format!("{}: warnings from now on", http.url()));
        };
        // A version that a failed watch began from may be the reason: begin anew.
        if let Err(why) = self.follow(&http, &from, shared) {
            self.version = None;
            return Err(why);
        }
        Ok(format!("{}: {} warnings so far", http.url(), self.told))
    }
}
