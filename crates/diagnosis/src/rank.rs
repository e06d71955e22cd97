//! From all that fits somewhere to the cause: what is near the end of the walk
//! counts most, effects go under their causes.

use crate::fault::{Class, Finding, Leaf};
use crate::locate::Located;
use crate::place::Place;
use crate::scene::Scene;
use crate::symptom::State;
use crate::walk::Walk;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use taproot_model::Name;

/// Score from which a cause is claimed.
pub(crate) const CLAIM: f64 = 0.45;
/// What ended longer ago than this is over.
const RECENT: Duration = Duration::from_secs(8);
/// Packets sent again that somebody felt.
const MANY_RESENT: f64 = 10.0;
/// A cause this weak beside its supposed effect does not explain it.
const OUTWEIGHS: f64 = 0.5;

/// A cause with its score, and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) finding: Finding,
    /// Strength times nearness.
    pub(crate) score: f64,
    pub(crate) effects: Vec<Finding>,
}

/// Causes near the question, best first, and findings that have nothing to do with it.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    pub(crate) causes: Vec<Cause>,
    pub(crate) elsewhere: Vec<Finding>,
}

/// The question, as far as places are concerned.
pub(crate) struct Focus<'a> {
    pub(crate) asked: Option<&'a Name>,
    pub(crate) state: Option<&'a State>,
    pub(crate) walk: Option<&'a Walk>,
    pub(crate) located: Option<&'a Located>,
}

/// Nearness of what is downstream of the trouble, of the way, and of its end.
const DOWNSTREAM: f64 = 0.75;
const ON_THE_WAY: f64 = 0.9;
const AT_THE_END: f64 = 1.0;
/// Weight of a change that was made elsewhere than on the way.
const ELSEWHERE: f64 = 0.6;
/// Nearness of the first suspect, wherever the way went: short of the way's end, which
/// tells a service from the link to it.
const SUSPECTED: f64 = 0.95;

/// Services downstream of `from`, itself included.
pub(crate) fn reach(scene: &Scene<'_>, from: &Name) -> BTreeSet<Name> {
    let mut seen = BTreeSet::from([from.clone()]);
    let mut open = vec![from.clone()];
    while let Some(here) = open.pop() {
        for link in scene.outbound(&here) {
            if seen.insert(link.server.clone()) {
                open.push(link.server.clone());
            }
        }
    }
    seen
}

/// How near a service is to where the trouble begins, 0 to 1.
fn nearness(scene: &Scene<'_>, focus: &Focus<'_>) -> impl Fn(&Name) -> f64 {
    let mut near = BTreeMap::<Name, f64>::new();
    let mut put_all = |services: &mut dyn Iterator<Item = &Name>, value: f64| {
        for service in services {
            let slot = near.entry(service.clone()).or_default();
            *slot = slot.max(value);
        }
    };
    if let Some(walk) = focus.walk {
        put_all(&mut reach(scene, &walk.from).iter(), DOWNSTREAM);
        put_all(&mut walk.services().into_iter(), ON_THE_WAY);
        put_all(&mut walk.end_services().into_iter(), AT_THE_END);
    } else if let Some(asked) = focus.asked {
        put_all(&mut reach(scene, asked).iter(), ON_THE_WAY);
        put_all(&mut std::iter::once(asked), AT_THE_END);
    }
    let suspects = focus.located.map_or(&[][..], |located| &located.culprits);
    let most = suspects.first().map_or(1.0, |s| s.score.max(f64::MIN_POSITIVE));
    for suspect in suspects {
        let name = Name::from(suspect.entity.as_str());
        let value = DOWNSTREAM + (SUSPECTED - DOWNSTREAM) * suspect.score / most;
        put_all(&mut std::iter::once(&name), value);
    }
    let nobody_asked = focus.asked.is_none();
    let far = match (nobody_asked, focus.walk.is_some()) {
        (true, false) => 1.0,
        (true, true) => 0.6,
        (false, _) => 0.0,
    };
    move |service: &Name| near.get(service).copied().unwrap_or(far)
}

/// A link is the caller's trouble; it is the called service's only if that is the
/// one asked about, whose users the callers are.
fn place_nearness(
    scene: &Scene<'_>,
    focus: &Focus<'_>,
    near: &impl Fn(&Name) -> f64,
    place: &Place,
) -> f64 {
    if let Place::Link { client, server, .. } = place {
        let asked = focus.asked.or(focus.state.map(|s| &s.service));
        let users = if asked == Some(server) { near(server) } else { 0.0 };
        return near(client).max(users);
    }
    scene.services_at(place).iter().map(near).fold(0.0, f64::max)
}

/// Whether so many packets had to be sent again that their requests, which each waited
/// for 200 ms or more (RFC 6298), are felt by somebody, be they too few for a percentile.
fn waited_for(finding: &Finding) -> bool {
    let resent =
        |l: &Leaf| l.signal == "flow.retransmits" && l.value >= MANY_RESENT && l.strength >= 0.5;
    finding.class == Class::PacketLoss && finding.leaves.iter().any(resent)
}

fn weight(scene: &Scene<'_>, finding: &Finding, focus: &Focus<'_>) -> f64 {
    let felt = focus.state.is_some_and(|s| !s.symptoms.is_empty());
    if felt && finding.class == Class::LogOnly && focus.state.is_some_and(State::slow) {
        // Logs do not make requests slow.
        return 0.6;
    }
    let starved = matches!(
        finding.class,
        Class::NoisyNeighbour
            | Class::CpuLimit
            | Class::MemoryPressure
            | Class::LinkDelay
            | Class::DiskSlow
            | Class::ReceiverStalled
            | Class::Stall
    );
    let failed_first = focus.state.is_some_and(State::failed_first);
    if felt && starved && (failed_first || !focus.state.is_some_and(State::slow)) {
        // Who is late is not refused: lack of time makes answers slow, not wrong.
        return 0.6;
    }
    let over = finding.until.is_some_and(|u| u + RECENT < scene.span.to);
    if !felt && over {
        // A start-up or a hiccup that nobody feels any more.
        return 0.4;
    }
    if felt && finding.predicted {
        // What has not happened yet explains nothing.
        return 0.6;
    }
    if felt || !finding.class.needs_symptom() {
        return 1.0;
    }
    if waited_for(finding) {
        return 0.8;
    }
    // Nobody feels it: a change without effect is a remark, a gross state that
    // may be as old as the observation is more.
    if finding.leaves.iter().any(|l| l.before.is_some()) { 0.4 } else { 0.8 }
}

fn explains(scene: &Scene<'_>, cause: &Cause, effect: &Cause) -> bool {
    let (a, b) = (&cause.finding, &effect.finding);
    if cause.score < CLAIM || cause.score < OUTWEIGHS * effect.score {
        return false;
    }
    if a.class == b.class {
        let same = a.culprit_entity.is_some() && a.culprit_entity == b.culprit_entity;
        return same && cause.score > effect.score;
    }
    if !a.class.explains(b.class) {
        return false;
    }
    let upstream = || {
        let from = b.place.services();
        let reached: BTreeSet<Name> = from.iter().flat_map(|s| reach(scene, s)).collect();
        a.place.services().iter().any(|s| reached.contains(*s))
    };
    let travels = matches!(
        b.class,
        Class::LogOnly | Class::SlowDownstream | Class::ErrorBurst | Class::CodeError
    );
    let (here, there) = (scene.services_at(&a.place), scene.services_at(&b.place));
    !here.is_disjoint(&there) || (travels && upstream())
}

/// Ranks what was found.
pub(crate) fn rank(scene: &Scene<'_>, focus: &Focus<'_>, findings: Vec<Finding>) -> Ranking {
    let near = nearness(scene, focus);
    let mut causes = Vec::new();
    let mut elsewhere = Vec::new();
    for finding in findings {
        let nearness = place_nearness(scene, focus, &near, &finding.place);
        let mut score = finding.strength * weight(scene, &finding, focus) * nearness;
        if finding.class == Class::Change && nearness < ON_THE_WAY {
            // It was made just before, but not where the trouble begins.
            score *= ELSEWHERE;
        }
        if nearness > 0.0 {
            causes.push(Cause { finding, score, effects: Vec::new() });
        } else if finding.strength * weight(scene, &finding, focus) >= CLAIM {
            elsewhere.push(finding);
        }
    }
    causes.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| a.finding.place.cmp(&b.finding.place))
    });
    Ranking { causes: under_causes(scene, causes), elsewhere }
}

/// Puts every effect under the best cause that explains it.
fn under_causes(scene: &Scene<'_>, all: Vec<Cause>) -> Vec<Cause> {
    let parent: Vec<Option<usize>> = (0..all.len())
        .map(|effect| {
            (0..all.len()).find(|&cause| {
                cause != effect
                    && explains(scene, &all[cause], &all[effect])
                    && !explains(scene, &all[effect], &all[cause])
            })
        })
        .collect();
    let root = |mut at: usize| {
        for _ in 0..parent.len() {
            match parent[at] {
                Some(up) => at = up,
                None => break,
            }
        }
        at
    };
    let roots: Vec<usize> = (0..all.len()).map(root).collect();
    let mut kept = BTreeMap::<usize, Cause>::new();
    let mut effects = BTreeMap::<usize, Vec<Finding>>::new();
    for (at, cause) in all.into_iter().enumerate() {
        if roots[at] == at {
            kept.insert(at, cause);
        } else {
            effects.entry(roots[at]).or_default().push(cause.finding);
        }
    }
    for (at, findings) in effects {
        if let Some(cause) = kept.get_mut(&at) {
            cause.effects = findings;
        }
    }
    kept.into_values().collect()
}
