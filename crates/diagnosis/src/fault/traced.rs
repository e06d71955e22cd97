//! Network family, what packets themselves say: a trace names the class and the object.

use super::network::{harmless, link_place};
use super::{Case, Class, Finding, Leaf};
use crate::place::Place;
use crate::scene::Scene;
use crate::stats;
use crate::traced::{Fate, Seen, Told, Traced};
use crate::units;
use taproot_model::Category;

/// Share of the followed packets that is more than the remains of closed connections.
const WORTH: f64 = 0.01;
/// What is left of a finding of another class on a link whose packets died of this one.
const CONTRADICTED: f64 = 0.5;

/// Lets every trace speak for and against what was found on its link.
pub(super) fn weigh(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for traced in &scene.traces {
        let Seen::Traced(told) = &traced.seen else { continue };
        let Some(class) = class(told) else { continue };
        let mut confirmed = false;
        for finding in findings.iter_mut() {
            let here = is_at(&finding.place, traced);
            if here && tells(finding.class, class) || is_shared(finding.class, class) {
                confirm(finding, told);
                confirmed = true;
            } else if here && finding.class.is_of_packets() {
                finding.strength *= CONTRADICTED;
            }
        }
        if !confirmed {
            findings.extend(found(scene, traced, told, class));
        }
    }
}

/// The class that a packet's end speaks for; `None` where it tells none, or nobody
/// misses such packets.
fn class(told: &Told) -> Option<Class> {
    let some = told.packets as f64 >= WORTH * told.followed as f64;
    let refused = told.reason.as_str() == "NO_SOCKET";
    let missed = refused || told.reason.is_empty() || !harmless(&told.reason);
    let blamed = told.blame.as_ref().map(|blame| blame.category);
    // A drop without a reason counts where its object was found all the same.
    if !told.fate.is_bad() || !some || !(missed || blamed.is_some()) {
        return None;
    }
    match (told.fate, blamed) {
        (Fate::NoRoute, _) => Some(Class::WrongRoute),
        (_, Some(Category::Routing | Category::Sysctl | Category::Neighbour)) => {
            Some(Class::WrongRoute)
        }
        (_, Some(Category::Conntrack)) => {
            let blame = told.blame.as_ref()?;
            let full = blame.object.contains("nf_conntrack_max");
            Some(if full { Class::ConntrackFull } else { Class::WrongRoute })
        }
        (_, Some(Category::Socket)) if refused => Some(Class::ConnectionRefused),
        (_, Some(Category::Socket)) => {
            let full = told.blame.as_ref()?.object.starts_with("listener ");
            full.then_some(Class::ListenOverflow)
        }
        (_, Some(Category::Unknown)) | (Fate::Unanswered, None) => None,
        _ => Some(Class::PacketLoss),
    }
}

/// Whether a finding and a packet's end are one story: names that are not resolved are so
/// for whatever became of the packets that asked.
fn tells(finding: Class, class: Class) -> bool {
    finding == class || finding == Class::DnsFailure || finding.refines(class)
}

/// One table of connections is for everybody, wherever it was found to be full.
fn is_shared(finding: Class, class: Class) -> bool {
    finding == Class::ConntrackFull && class == Class::ConntrackFull
}

fn is_at(place: &Place, traced: &Traced) -> bool {
    match place {
        Place::Link { edge, .. } => *edge == traced.edge,
        Place::Entity { id, .. } => *id == traced.edge.server || *id == traced.edge.client,
        Place::Service { .. } => false,
    }
}

fn leaf(told: &Told) -> Leaf {
    let strength = match &told.blame {
        // Whether somebody listens was known; why nobody does is not in the packets.
        Some(blame) if blame.category == Category::Socket => 0.3,
        Some(blame) if blame.proved => 0.7,
        Some(_) => 0.55,
        None => 0.4,
    };
    let text = format!(
        "{} of {} packets followed for {}: {}",
        told.packets,
        told.followed,
        units::time(told.seconds),
        told.headline
    );
    Leaf::new("trace.verdict", told.packets as f64, strength, text)
}

/// Puts the packet's word and the object at fault into a finding.
fn confirm(finding: &mut Finding, told: &Told) {
    let leaf = leaf(told);
    finding.strength = stats::any_of([finding.strength, leaf.strength]);
    finding.leaves.push(leaf);
    finding.leaves.sort_by(|a, b| b.strength.total_cmp(&a.strength));
    if let Some(blame) = &told.blame {
        finding.culprit.clone_from(&blame.object);
        finding.headline = format!("{}; at fault: {}", finding.headline, blame.object);
        finding.facts.insert("object", blame.object.clone());
        finding.facts.insert("object_because", blame.because.clone());
        finding.facts.insert("object_fix", blame.advice.clone());
    }
}

/// A finding that rests on the packets alone: no figure had told it.
fn found(scene: &Scene<'_>, traced: &Traced, told: &Told, class: Class) -> Option<Finding> {
    let link = scene.links.iter().find(|link| link.key == traced.edge)?;
    let mut case = Case::new(class, link_place(link));
    case.culprit(
        format!("the way between {} and {}", link.client, link.server),
        Some(link.key.client.clone()),
    );
    case.fact("port", link.key.port.to_string());
    if let Some(address) = link.address {
        case.fact("address", address.ip().to_string());
    }
    case.since(scene.trouble.map(|w| w.during.from));
    let what = match class {
        Class::WrongRoute => "packets take a way on which they never arrive",
        Class::ConnectionRefused => "nobody waits for them at the other end",
        Class::ConntrackFull => "the table of connections is full",
        _ => "packets are dropped on the way",
    };
    let mut finding = case.close(format!("{} does not reach {}: {what}", link.client, link.server));
    confirm(&mut finding, told);
    Some(finding)
}
