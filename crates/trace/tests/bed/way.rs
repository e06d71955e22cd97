//! A packet's way in the bed: where it has to be seen.

use taproot_model::Step;
use taproot_probes::trace::Event;
use taproot_trace::{Path, Trace};

use super::Bed;

/// A point that a packet has to be seen at: step, who, device.
pub(crate) type Point = (&'static str, &'static str, &'static str);

fn is_at(bed: &Bed, event: &Event, (step, who, device): Point) -> bool {
    let place = &event.hop.place;
    let seen = match &event.hop.step {
        Step::Routed(route) => ("Routed", route.device.as_str()),
        // A process reads it, or a socket takes it: neither is at a device.
        Step::Delivered => ("Delivered", ""),
        Step::Received => ("Received", place.device.as_str()),
        Step::Queued => ("Queued", place.device.as_str()),
        _ => return false,
    };
    seen == (step, device) && place.netns == Some(bed.inode(who))
}

/// Whether a path holds all these, one after the other.
pub(crate) fn holds(bed: &Bed, path: &Path, points: &[Point]) -> bool {
    let mut hops = path.hops.iter();
    points.iter().all(|point| hops.any(|event| is_at(bed, event, *point)))
}

/// All paths, for a reader of a failed test.
pub(crate) fn told(bed: &Bed, trace: &Trace) -> String {
    let who = |inode: Option<u32>| {
        let found = super::WHO.iter().find(|who| Some(bed.inode(who)) == inode);
        found.map_or_else(|| format!("{inode:?}"), |who| (*who).to_owned())
    };
    let line = |event: &Event| {
        let hop = &event.hop;
        let step = format!("{:?}", hop.step);
        let (place, tuple) = (&hop.place, &hop.tuple);
        format!(
            "  {} {} {} {} > {} id {} len {}\n",
            step.get(..60).unwrap_or(&step),
            who(place.netns),
            place.device,
            tuple.source,
            tuple.destination,
            hop.id.ip_id,
            tuple.length
        )
    };
    let path = |path: &Path| {
        let hops: String = path.hops.iter().map(line).collect();
        format!("conversation {}\n{hops}", path.conversation)
    };
    trace.paths.iter().map(path).collect()
}
