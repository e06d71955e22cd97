use super::seconds;
use crate::{SeriesKey, World};
use serde::Serialize;
use taproot_model::{EntityId, Span, metric};

/// Where the time of the requests that an instance served went: seconds of a mean request.
/// The parts add up to `total`, but for what is said to be outside of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spent {
    /// Requests per second whose stages were seen.
    pub rate: f64,
    /// A mean request's latency.
    pub total: f64,
    /// The thread was stopped by its CPU quota; `null` where that was not seen.
    pub throttled: Option<f64>,
    /// The thread waited for a CPU; `null` where that was not seen.
    pub queued: Option<f64>,
    /// In the socket's buffer, for neither of these: the thread was busy otherwise, or had
    /// not been woken yet.
    pub unread: Option<f64>,
    /// Between reading and the first byte of the answer, for neither of these: work, and
    /// waiting for others.
    pub work: Option<f64>,
    /// From the first byte of the answer to its last.
    pub send: f64,
    /// Of `send`: written, but the socket could not send yet; `null` where not seen.
    pub buffered: Option<f64>,
    /// Before `total`: from the device to the socket; `null` where not seen.
    pub device: Option<f64>,
    /// After `total`: from the socket to the device; `null` where not seen.
    pub qdisc: Option<f64>,
    /// Where it is not known whether the thread waited.
    pub unknown: f64,
}

impl Spent {
    /// Of one instance; `None` where no request's stages were seen.
    pub(super) fn of(world: &World, id: &EntityId, span: Span) -> Option<Self> {
        let sum = |name: &str, attribute: &str| {
            let key = SeriesKey { name: name.into(), attribute: attribute.into() };
            world.metric(id, &key, span).map(|series| series.total())
        };
        let count = sum(metric::REQUEST_STAGED, "role=server").filter(|n| *n > 0.0)?;
        let time = |stage: &str| {
            sum(metric::REQUEST_STAGE_TIME, &format!("stage={stage}")).map(|time| time / count)
        };
        let both =
            |part: &str| plus(time(&format!("receive.{part}")), time(&format!("service.{part}")));
        let (throttled, queued) = (both("throttled"), both("queued"));
        let (unread, work) = (time("receive"), time("service"));
        let (buffered, unknown) = (time("send.buffered"), both("unknown").unwrap_or_default());
        let parts = [time("send"), buffered, time("send.unknown")];
        let send: f64 = parts.into_iter().flatten().sum();
        let outside = |stage: &str| {
            let attribute = format!("stage={stage}");
            let seen = sum(metric::REQUEST_STAGE_SEEN, &attribute).filter(|n| *n > 0.0)?;
            sum(metric::REQUEST_STAGE_TIME, &attribute).map(|time| time / seen)
        };
        let (device, qdisc) = (outside("device"), outside("qdisc"));
        let known: f64 = [throttled, queued, unread, work].into_iter().flatten().sum();
        let (rate, total) = (count / seconds(span), known + send + unknown);
        Some(Self {
            rate,
            total,
            throttled,
            queued,
            unread,
            work,
            send,
            buffered,
            device,
            qdisc,
            unknown,
        })
    }
}

/// The sum of what is known; nothing where neither is.
fn plus(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    (a.is_some() || b.is_some()).then(|| a.unwrap_or_default() + b.unwrap_or_default())
}
