//! What users feel: golden signals of a service, bounded.

use crate::bound::{self, Direction, Excursion, Sensitivity};
use crate::evidence::Link;
use crate::scene::{Calls, Scene, Windows, cut};
use serde::Serialize;
use std::time::Duration;
use taproot_model::{Name, Span, Timestamp};

/// A golden signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Share of requests that got no answer.
    Unanswered,
    /// Share of requests that failed.
    Errors,
    /// Failed attempts to connect per second.
    FailedConnects,
    /// Median latency, seconds.
    P50,
    /// 90th percentile, seconds.
    P90,
    /// 99th percentile, seconds.
    P99,
    /// Requests per second.
    Rate,
}

impl Measure {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unanswered => "requests without an answer",
            Self::Errors => "failing requests",
            Self::FailedConnects => "failed connections per second",
            Self::P50 => "median latency",
            Self::P90 => "latency of the slowest tenth (p90)",
            Self::P99 => "latency of the slowest hundredth (p99)",
            Self::Rate => "requests per second",
        }
    }

    fn is_latency(self) -> bool {
        matches!(self, Self::P50 | Self::P90 | Self::P99)
    }

    /// Requests a step needs for its value to mean something.
    fn needs(self) -> u64 {
        match self {
            Self::P99 => 60,
            Self::P90 => 20,
            Self::P50 => 8,
            Self::Errors | Self::Unanswered => 5,
            Self::Rate | Self::FailedConnects => 0,
        }
    }

    /// What counts as a symptom. The absolute parts are what a user would notice:
    /// a service that went from 1 ms to 4 ms is not an incident.
    fn sensitivity(self) -> Sensitivity {
        let base = Sensitivity::default();
        match self {
            Self::Unanswered | Self::Errors => {
                Sensitivity { relative: 1.0, absolute: 0.02, ..base }
            }
            Self::FailedConnects => Sensitivity { relative: 1.0, absolute: 0.2, ..base },
            Self::P50 => Sensitivity { relative: 1.0, absolute: 0.010, ..base },
            Self::P90 => Sensitivity { relative: 1.0, absolute: 0.025, ..base },
            Self::P99 => Sensitivity { relative: 2.0, absolute: 0.080, ..base },
            Self::Rate => Sensitivity { relative: 0.4, absolute: 1.0, ..base },
        }
    }
}

/// Share of failing requests that is a symptom even without a past.
const ERRORS_AT_ALL: f64 = 0.05;
/// An excursion that is over and was shorter is a blip.
const BLIP_OVER: Duration = Duration::from_secs(8);
/// One that goes on and is younger may be one.
const BLIP_NOW: Duration = Duration::from_secs(5);
/// Share of requests that is most of them.
const MOST: f64 = 0.5;
/// What begins so much earlier is no effect of what begins later.
const FIRST: Duration = Duration::from_secs(4);
/// Failing requests needed for that.
const ENOUGH_ERRORS: u64 = 5;

/// One golden signal that left its normal range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Symptom {
    /// Which.
    pub measure: Measure,
    /// Its normal value; `None` if it was as bad from the beginning.
    pub normal: Option<f64>,
    /// Its value during the trouble.
    pub level: f64,
    /// Shift over spread; 0 without a past.
    pub score: f64,
    /// When.
    pub windows: Windows,
    /// Its values over the span, per step, gaps as `null`.
    pub values: Vec<Option<f64>>,
}

impl Symptom {
    /// Whether most requests fail; how slow the others are matters less.
    fn most_fail(&self) -> bool {
        matches!(self.measure, Measure::Errors | Measure::Unanswered) && self.level >= MOST
    }
}

/// The state of a service.
#[derive(Clone, Debug)]
pub struct State {
    /// The service.
    pub service: Name,
    /// What is wrong, worst first.
    pub symptoms: Vec<Symptom>,
    /// The request rate, if it changed.
    pub load: Option<Symptom>,
    /// Requests seen at all.
    pub requests: u64,
    /// Its golden signals over the whole span.
    pub calls: Calls,
}

impl State {
    /// The trouble: from the first symptom that overlaps the worst one, to the last's end.
    pub fn windows(&self, span: Span) -> Option<Windows> {
        let worst = self.symptoms.first()?.windows.during;
        let mut during = worst;
        for s in &self.symptoms {
            let other = s.windows.during;
            let slack = span.length() / 10;
            if other.from < worst.to && other.from + slack >= worst.from {
                during.from = during.from.min(other.from);
                during.to = during.to.max(other.to);
            }
        }
        if self.symptoms.iter().all(|s| s.normal.is_none()) {
            return Some(Windows::whole(span));
        }
        Some(Windows::split(span, during.from, during.to))
    }

    /// Whether latency is among the symptoms.
    pub fn slow(&self) -> bool {
        self.symptoms.iter().any(|s| s.measure.is_latency())
    }

    /// Whether most requests failed before any became slow: then nothing that only takes
    /// time made them fail.
    pub fn failed_first(&self) -> bool {
        let slow = self.symptoms.iter().filter(|s| s.measure.is_latency());
        let slow_from = slow.map(|s| s.windows.during.from).min();
        self.symptoms.iter().any(|s| {
            let from = s.windows.during.from;
            s.most_fail() && slow_from.is_some_and(|slow| slow >= from + FIRST)
        })
    }

    /// Whether failures are among the symptoms.
    pub fn failing(&self) -> bool {
        self.symptoms.iter().any(|s| {
            matches!(s.measure, Measure::Errors | Measure::Unanswered | Measure::FailedConnects)
        })
    }
}

struct Step {
    calls: Calls,
    failed_connects: u64,
    seconds: f64,
}

impl Step {
    /// The measure, if the step holds enough requests for it.
    fn value(&self, measure: Measure) -> Option<f64> {
        if self.calls.requests < measure.needs() { None } else { self.loose_value(measure) }
    }

    /// The measure of however few requests.
    fn loose_value(&self, measure: Measure) -> Option<f64> {
        let share = |n: u64| n as f64 / self.calls.requests.max(1) as f64;
        match measure {
            Measure::Unanswered => Some(share(self.calls.unanswered)),
            Measure::Errors => Some(share(self.calls.failed)),
            Measure::FailedConnects => Some(self.failed_connects as f64 / self.seconds),
            Measure::P50 => self.calls.quantile(0.5),
            Measure::P90 => self.calls.quantile(0.9),
            Measure::P99 => self.calls.quantile(0.99),
            Measure::Rate => Some(self.calls.requests as f64 / self.seconds),
        }
    }
}

fn read_step(scene: &Scene<'_>, links: &[&Link], span: Span) -> Step {
    let mut calls = Calls::default();
    let mut failed_connects = 0;
    for link in links {
        calls.merge(&scene.felt(link, span));
        failed_connects += scene.flow(link, span).failed();
    }
    Step { calls, failed_connects, seconds: span.length().as_secs_f64().max(1e-9) }
}

/// The values of a measure. When traffic nearly stops, single steps hold too few
/// requests to tell; then a few are taken together and stand where they end.
fn values(
    scene: &Scene<'_>,
    links: &[&Link],
    measure: Measure,
    step: Duration,
) -> Vec<Option<f64>> {
    const TOGETHER: usize = 6;
    let mut out = Vec::new();
    let mut open: Option<(usize, Step)> = None;
    for span in scene.steps_of(step) {
        let mut now = read_step(scene, links, span);
        let mut n = 1;
        if let Some((before, thin)) = open.take() {
            n += before;
            now.calls.merge(&thin.calls);
            now.failed_connects += thin.failed_connects;
            now.seconds += thin.seconds;
        }
        let value = now.value(measure);
        out.push(value);
        let idle = now.calls.requests == 0;
        if value.is_none() && n < TOGETHER && !idle {
            open = Some((n, now));
        }
    }
    out
}

/// Where, to the finest step, a measure crossed the middle between two levels
/// within `around`: the split that puts the fewest values on the wrong side.
fn crossing(
    scene: &Scene<'_>,
    links: &[&Link],
    measure: Measure,
    around: Span,
    (early, late): (f64, f64),
) -> Option<Timestamp> {
    let steps = cut(around, scene.evidence.resolution());
    let later = |span: &Span| {
        let step = read_step(scene, links, *span);
        let value = if step.calls.requests > 0 { step.loose_value(measure) } else { None };
        value.map(|v| (v - late).abs() < (v - early).abs())
    };
    let sides: Vec<Option<bool>> = steps.iter().map(later).collect();
    let wrong = |at: &usize| {
        let before = sides[..*at].iter().filter(|s| **s == Some(true)).count();
        before + sides[*at..].iter().filter(|s| **s == Some(false)).count()
    };
    let at = (0..=steps.len()).min_by_key(wrong)?;
    Some(steps.get(at).map_or(around.to, |s| s.from))
}

/// Bounds to the finest step what was bounded in coarse ones.
fn refine(scene: &Scene<'_>, links: &[&Link], symptom: &mut Symptom, step: Duration) {
    let Some(normal) = symptom.normal.filter(|_| step > scene.evidence.resolution()) else {
        return;
    };
    let within =
        |t: Timestamp| Span::new((t - step).max(scene.span.from), (t + step).min(scene.span.to));
    let during = symptom.windows.during;
    let levels = (normal, symptom.level);
    let measure = symptom.measure;
    let mut from = during.from;
    if during.from > scene.span.from {
        from = crossing(scene, links, measure, within(from), levels).unwrap_or(from);
    }
    let mut to = during.to;
    if during.to < scene.span.to {
        let back = (symptom.level, normal);
        to = crossing(scene, links, measure, within(to), back).unwrap_or(to);
    }
    if from < to {
        symptom.windows = Windows::split(scene.span, from, to);
    }
}

/// A step long enough for what the measure needs at the usual rate, with at least
/// twelve steps left.
fn step_for(scene: &Scene<'_>, measure: Measure, requests: u64) -> Duration {
    let span = scene.span.length().as_secs_f64();
    if measure == Measure::FailedConnects {
        // Attempts fail when their timeout ends: now and then, not each second.
        let wide = (span / 20.0 / scene.step.as_secs_f64().max(1e-3)).ceil().max(1.0);
        return scene.step.saturating_mul(wide as u32);
    }
    let wanted = 2.0 * measure.needs() as f64 * span / requests.max(1) as f64;
    let most = span / 12.0;
    let finest = scene.step.as_secs_f64().max(1e-3);
    let steps = (wanted.min(most) / finest).ceil().max(1.0);
    scene.step.saturating_mul(steps as u32)
}

fn symptom_of(
    scene: &Scene<'_>,
    measure: Measure,
    step: Duration,
    values: Vec<Option<f64>>,
    excursion: &Excursion,
) -> Symptom {
    Symptom {
        measure,
        normal: Some(excursion.normal),
        level: excursion.level,
        score: excursion.score,
        windows: scene.windows_of(excursion, step),
        values,
    }
}

fn bounded(
    scene: &Scene<'_>,
    links: &[&Link],
    measure: Measure,
    bad: Direction,
    requests: u64,
) -> Option<Symptom> {
    let step = step_for(scene, measure, requests);
    let values = values(scene, links, measure, step);
    let excursion = bound::bound(&values, bad, &measure.sensitivity())?;
    let mut symptom = symptom_of(scene, measure, step, values, &excursion);
    refine(scene, links, &mut symptom, step);
    Some(symptom)
}

/// Failures that were there from the beginning: judged by their share alone.
fn always_failing(scene: &Scene<'_>, calls: &Calls) -> Option<Symptom> {
    let (measure, n) = if calls.unanswered * 2 > calls.failed {
        (Measure::Unanswered, calls.unanswered)
    } else {
        (Measure::Errors, calls.failed)
    };
    let share = n as f64 / calls.requests.max(1) as f64;
    (share >= ERRORS_AT_ALL && n >= ENOUGH_ERRORS).then(|| Symptom {
        measure,
        normal: None,
        level: share,
        score: 0.0,
        windows: Windows::whole(scene.span),
        values: Vec::new(),
    })
}

/// Too short to be trouble: every machine stands still for a moment now and then.
fn blip(scene: &Scene<'_>, symptom: &Symptom) -> bool {
    let during = symptom.windows.during;
    let long =
        if during.to < scene.span.to { BLIP_OVER.max(scene.span.length() / 60) } else { BLIP_NOW };
    symptom.normal.is_some() && during.length() < long
}

/// Reads the golden signals of a service: those of requests to it, or of its own
/// calls where nobody calls it.
pub fn read(scene: &Scene<'_>, service: &str) -> State {
    let mut links: Vec<&Link> = scene.inbound(service).collect();
    if links.iter().all(|l| scene.felt(l, scene.span).requests == 0) {
        links.extend(scene.outbound(service));
    }
    let mut calls = Calls::default();
    for link in &links {
        calls.merge(&scene.felt(link, scene.span));
    }
    let bad = [
        Measure::Unanswered,
        Measure::Errors,
        Measure::FailedConnects,
        Measure::P50,
        Measure::P90,
        Measure::P99,
    ];
    let one = |m: &Measure| bounded(scene, &links, *m, Direction::Up, calls.requests);
    let mut symptoms: Vec<Symptom> = bad.iter().filter_map(one).collect();
    if !symptoms.iter().any(|s| matches!(s.measure, Measure::Errors | Measure::Unanswered)) {
        symptoms.extend(always_failing(scene, &calls));
    }
    symptoms.retain(|s| !blip(scene, s));
    // What goes on now matters more than what is over, however bad it was.
    let over = |s: &Symptom| s.windows.during.to < scene.span.to;
    symptoms.sort_by(|a, b| {
        let worse = b.score.total_cmp(&a.score).then(a.measure.cmp(&b.measure));
        over(a).cmp(&over(b)).then(b.most_fail().cmp(&a.most_fail())).then(worse)
    });
    let load = bounded(scene, &links, Measure::Rate, Direction::Both, calls.requests);
    State { service: service.into(), symptoms, load, requests: calls.requests, calls }
}
