use crate::advice;
use crate::breakdown::{self, Breakdown, Changed};
use crate::confidence::confidence;
use crate::culprit::Culprit;
use crate::evidence::Evidence;
use crate::fault::{self, Class, Finding, RuledOut};
use crate::locate::{self, Alarm, Located};
use crate::observe;
use crate::rank::{self, CLAIM, Cause, Focus, Ranking};
use crate::report::{
    Alternative, Chart, EvidenceLine, Report, SCHEMA_VERSION, Suspect, SymptomLine, Verdict,
};
use crate::scene::{Scene, Windows};
use crate::symptom::{self, Measure, State, Symptom};
use crate::units;
use crate::walk::{self, Walk};
use crate::{blind, place::Place};
use std::collections::BTreeSet;
use std::time::Duration;
use taproot_model::{Name, Span, Timestamp};

/// How much more load is "grew".
const GREW: f64 = 1.4;
/// A look long enough to say that all is well.
const ENOUGH: Duration = Duration::from_secs(20);
/// Causes below this are not worth a line.
const WORTH_A_LINE: f64 = 0.25;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The service (or instance) in trouble; `None` looks at all and picks the worst.
    pub service: Option<Name>,
    /// The time to look at; it is cut to what the evidence covers.
    pub span: Span,
}

/// A question that cannot be answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuestionError {
    /// The service is not known.
    #[error("no service or instance is called “{asked}” here; known services: {known}")]
    UnknownService {
        /// What was asked for.
        asked: Name,
        /// What there is, comma separated.
        known: String,
    },
    /// More than one service fits.
    #[error("“{asked}” could be any of {known}; ask with the namespace (namespace/name)")]
    Ambiguous {
        /// What was asked for.
        asked: Name,
        /// What fits, comma separated.
        known: String,
    },
    /// Nothing was observed in that time.
    #[error(
        "nothing was observed in that time; the evidence covers {from} to {to} (UTC): \
         ask for a span inside it, or let the agent run first"
    )]
    NothingObserved {
        /// Beginning of what is covered.
        from: Timestamp,
        /// End of what is covered.
        to: Timestamp,
    },
}

/// Finds what is wrong, where, since when and why.
///
/// # Errors
/// [`QuestionError`] if the service is not known or nothing was observed.
pub fn diagnose(evidence: &dyn Evidence, question: &Question) -> Result<Report, QuestionError> {
    let mut scene = Scene::new(evidence, question.span);
    if scene.span.from >= scene.span.to {
        let covered = evidence.span();
        return Err(QuestionError::NothingObserved { from: covered.from, to: covered.to });
    }
    let asked = question.service.as_ref().map(|s| resolve(&scene, s)).transpose()?;
    let state = match &asked {
        Some(service) => Some(symptom::read(&scene, service)),
        None => worst(&scene),
    };
    scene.trouble = state.as_ref().and_then(|s| s.windows(scene.span));
    let walk = match (&state, scene.trouble) {
        (Some(state), Some(w)) => Some(walk::walk(&scene, state, &w)),
        _ => None,
    };
    let mut findings = fault::find(&scene);
    if let (Some(walk), Some(w)) = (&walk, scene.trouble) {
        findings.extend(fault::slow_downstream(&scene, walk, &w));
        findings.extend(fault::failing(&scene, walk, &w));
    }
    let located = state.as_ref().and_then(|state| suspects(&scene, state));
    let focus = Focus {
        asked: asked.as_ref(),
        state: state.as_ref(),
        walk: walk.as_ref(),
        located: located.as_ref(),
    };
    let ranking = rank::rank(&scene, &focus, findings);
    let breakdowns =
        state.as_ref().map_or_else(Vec::new, |s| broken_down(&scene, s, walk.as_ref()));
    let mut report = report(&scene, asked, state.as_ref(), walk, ranking, breakdowns);
    report.suspects = located.map_or_else(Vec::new, suspected);
    Ok(report)
}

/// Who is to blame by figures alone; `None` without trouble or without a past.
fn suspects(scene: &Scene<'_>, state: &State) -> Option<Located> {
    let w = scene.trouble.filter(|w| w.before.is_some())?;
    let mut observed = observe::observed(scene, w.during.to);
    let aspect = observe::complaint(state.slow());
    let alarm = Some(Alarm { entity: observed.entity(&state.service), aspect });
    let seconds = |t: Timestamp| t.since(scene.span.from).as_secs_f64();
    let window = Some((seconds(w.during.from), seconds(w.during.to)));
    Some(locate::locate(&observed, &locate::Question { alarm, window, noticed: None }))
}

fn suspected(located: Located) -> Vec<Suspect> {
    const MOST: usize = 3;
    const WORTH_A_MENTION: f64 = 0.1;
    let least = located.culprits.first().map_or(0.0, |first| first.score * WORTH_A_MENTION);
    let suspect = |culprit: locate::Culprit| Suspect {
        service: culprit.entity.into(),
        score: culprit.score,
        confidence: culprit.confidence,
        because: culprit.because,
    };
    let all = located.culprits.into_iter().filter(|culprit| culprit.score >= least);
    all.take(MOST).map(suspect).collect()
}

/// Which requests make the difference: at the service in trouble and, where the way
/// leads on, at its end.
fn broken_down(scene: &Scene<'_>, state: &State, walk: Option<&Walk>) -> Vec<Breakdown> {
    let (changed, w) = match (scene.trouble, &state.load) {
        (Some(w), _) if state.slow() => (Changed::Latency, w),
        (Some(w), _) => (Changed::Failures, w),
        (None, Some(load)) => (Changed::Load, load.windows),
        (None, None) => return Vec::new(),
    };
    let end = walk.and_then(|walk| walk.end_services().into_iter().next_back());
    let end = end.filter(|end| **end != state.service);
    let services = std::iter::once(&state.service).chain(end);
    services.filter_map(|service| breakdown::breakdown(scene, service, changed, &w)).collect()
}

/// The service that people mean: its full name, its name without the namespace,
/// or one of its instances.
fn resolve(scene: &Scene<'_>, asked: &Name) -> Result<Name, QuestionError> {
    let mut services: BTreeSet<&Name> = scene.entities.values().map(|e| &e.service).collect();
    services.extend(scene.links.iter().flat_map(|l| [&l.client, &l.server]));
    if services.contains(asked) {
        return Ok(asked.clone());
    }
    let short = |s: &Name| s.rsplit('/').next() == Some(asked.as_str());
    let mut fits: BTreeSet<&Name> = services.iter().copied().filter(|s| short(s)).collect();
    if fits.is_empty() {
        let instance = scene
            .entities
            .values()
            .filter(|e| e.instance() == asked || e.container == *asked || e.id == *asked);
        fits = instance.map(|e| &e.service).collect();
    }
    let list = |names: &BTreeSet<&Name>| {
        let names: Vec<&str> = names.iter().take(20).map(|n| n.as_str()).collect();
        names.join(", ")
    };
    match (fits.first(), fits.len()) {
        (Some(one), 1) => Ok((*one).clone()),
        (Some(_), _) => Err(QuestionError::Ambiguous { asked: asked.clone(), known: list(&fits) }),
        (None, _) => {
            Err(QuestionError::UnknownService { asked: asked.clone(), known: list(&services) })
        }
    }
}

/// The service whose users suffer most; of a chain of equals, the first.
fn worst(scene: &Scene<'_>) -> Option<State> {
    let services: BTreeSet<&Name> = scene.links.iter().map(|l| &l.server).collect();
    let states = services.into_iter().map(|s| symptom::read(scene, s));
    let suffering = states.filter(|s| !s.symptoms.is_empty()).map(|s| {
        let w = s.windows(scene.span).unwrap_or(Windows::whole(scene.span));
        (walk::suffering(scene, &s, &w), s)
    });
    suffering.max_by(|a, b| a.0.total_cmp(&b.0)).map(|s| s.1)
}

fn report(
    scene: &Scene<'_>,
    asked: Option<Name>,
    state: Option<&State>,
    walk: Option<Walk>,
    ranking: Ranking,
    breakdowns: Vec<Breakdown>,
) -> Report {
    let mut causes = ranking.causes.into_iter();
    let top = causes.next();
    let claimed = top.as_ref().is_some_and(|c| c.score >= CLAIM);
    let (blind, sight) = blind::blind(scene, walk.as_ref());
    let mut alternatives: Vec<Alternative> =
        causes.filter(|c| c.score >= WORTH_A_LINE).map(|c| alternative(&c)).collect();
    let cause = if claimed {
        top
    } else {
        let weak = top.filter(|c| c.score >= WORTH_A_LINE);
        alternatives.splice(0..0, weak.as_ref().map(alternative));
        None
    };
    alternatives.truncate(3);
    let verdict = match &cause {
        Some(cause) => caused(scene, cause, sight, &breakdowns),
        None => uncaused(scene, asked.as_ref(), state, walk.as_ref(), sight),
    };
    let mut ruled_out = cause.as_ref().map_or_else(Vec::new, |c| c.finding.ruled_out.clone());
    add_checked(scene, &verdict, walk.as_ref(), asked.as_ref(), &mut ruled_out);
    let evidence = cause.as_ref().map_or_else(Vec::new, |c| evidence(&c.finding));
    let effects = cause.as_ref().map_or_else(Vec::new, |c| effects(&c.effects));
    Report {
        schema_version: SCHEMA_VERSION,
        service: asked,
        span: scene.span,
        advice: advice::advice(scene, verdict.class, cause.as_ref().map(|c| &c.finding)),
        verdict,
        symptoms: state.map_or_else(Vec::new, |s| symptoms(scene, s)),
        walk,
        suspects: Vec::new(),
        breakdowns,
        evidence,
        effects,
        traces: scene.traces.clone(),
        ruled_out,
        alternatives,
        elsewhere: ranking.elsewhere.iter().map(elsewhere).collect(),
        blind,
    }
}

fn caused(scene: &Scene<'_>, cause: &Cause, sight: f64, breakdowns: &[Breakdown]) -> Verdict {
    let f = &cause.finding;
    let culprit = Culprit::of(scene, f, breakdowns);
    let most = culprit.request.as_ref();
    let most = most.map_or_else(String::new, |request| format!("; most of it is {request}"));
    let until = scene.trouble.map(|w| w.during.to).or(f.until).filter(|to| *to < scene.span.to);
    Verdict {
        class: f.class,
        headline: format!("{}{most}{}", f.headline, alone(f.class)),
        place: Some(f.place.clone()),
        culprit: Some(culprit),
        since: f.since,
        until,
        confidence: confidence(f.class, cause.score * sight),
        score: cause.score * sight,
        predicted: f.predicted,
    }
}

/// What the verdict adds to the sentence of a finding that is no effect of another.
fn alone(class: Class) -> &'static str {
    match class {
        Class::SlowDownstream => {
            "; no resource, link or event explains it, so it is the service itself"
        }
        Class::LogOnly => "; its resources, links and dependencies are healthy",
        _ => "",
    }
}

fn uncaused(
    scene: &Scene<'_>,
    asked: Option<&Name>,
    state: Option<&State>,
    walk: Option<&Walk>,
    sight: f64,
) -> Verdict {
    let plain = |class, headline, score| Verdict {
        class,
        headline,
        place: None,
        culprit: None,
        since: None,
        until: None,
        confidence: confidence(class, score),
        score,
        predicted: false,
    };
    let who = asked.map_or_else(|| "any service".to_owned(), ToString::to_string);
    let load = state.and_then(|s| s.load.as_ref());
    let grew = load.filter(|l| l.normal.is_some_and(|n| n > 0.0 && l.level >= n * GREW));
    if let Some(load) = grew {
        let normal = load.normal.unwrap_or(0.0);
        let felt = state.is_some_and(|s| !s.symptoms.is_empty());
        let after = if felt { ", and it became slower with it" } else { " and serves them well" };
        let headline = format!(
            "{who} gets more requests: {} a second instead of {}{after}",
            units::number(load.level),
            units::number(normal)
        );
        let mut verdict = plain(Class::LoadGrew, headline, if felt { 0.5 } else { 0.8 } * sight);
        verdict.since = Some(load.windows.during.from);
        return verdict;
    }
    let Some(state) = state.filter(|s| !s.symptoms.is_empty()) else {
        let seen = state.map_or(1, |s| s.requests);
        let watched = units::time(scene.span.length().as_secs_f64());
        return if asked.is_some() && seen == 0 {
            let headline = format!(
                "nothing wrong was found at {who}, but no request to or from it was seen in {watched}"
            );
            plain(Class::Healthy, headline, 0.4 * sight)
        } else {
            let headline = format!("nothing is wrong with {who}: looked at {watched}");
            // A short look proves little.
            let long = scene.span.length() >= ENOUGH;
            plain(Class::Healthy, headline, if long { 0.9 } else { 0.5 } * sight)
        };
    };
    let worst = &state.symptoms[0];
    let end = walk.map_or_else(String::new, |w| {
        let ends: Vec<&str> = w.end_services().into_iter().map(Name::as_str).collect();
        format!(" The trouble begins at {}.", ends.join(" → "))
    });
    let headline = format!(
        "inconclusive: {}, and nothing that was looked at explains it.{end}",
        symptom_words(&state.service, worst)
    );
    let mut verdict = plain(Class::Unknown, headline, 0.3 * sight);
    verdict.since = Some(worst.windows.during.from);
    verdict.place = walk.map(|w| Place::Service {
        service: w.end_services().last().map_or_else(|| w.from.clone(), |s| (*s).clone()),
    });
    verdict
}

/// Adds what every diagnosis checks to what the cause itself rules out.
fn add_checked(
    scene: &Scene<'_>,
    verdict: &Verdict,
    walk: Option<&Walk>,
    asked: Option<&Name>,
    out: &mut Vec<RuledOut>,
) {
    let mut services: BTreeSet<Name> = BTreeSet::new();
    if let Some(place) = &verdict.place {
        services.extend(place.services().into_iter().cloned());
    }
    if let Some(walk) = walk {
        services.extend(walk.services().into_iter().cloned());
    } else if let Some(asked) = asked {
        services.extend(rank::reach(scene, asked));
    } else {
        services.extend(scene.workloads().map(|e| e.service.clone()));
    }
    for checked in fault::checked(scene, &services) {
        let told = out.iter().any(|r| r.class == checked.class);
        let explained = verdict.class == checked.class || verdict.class.explains(checked.class);
        if !told && !explained {
            out.push(checked);
        }
    }
}

fn evidence(finding: &Finding) -> Vec<EvidenceLine> {
    let line = |l: &fault::Leaf| EvidenceLine {
        text: l.text.clone(),
        signal: l.signal,
        value: l.value,
        before: l.before,
        strength: l.strength,
        chart: Chart { values: l.values.clone() },
    };
    finding.leaves.iter().map(line).collect()
}

fn effects(findings: &[Finding]) -> Vec<String> {
    findings.iter().take(6).map(|f| f.headline.clone()).collect()
}

fn alternative(cause: &Cause) -> Alternative {
    Alternative { score: cause.score, ..elsewhere(&cause.finding) }
}

fn elsewhere(finding: &Finding) -> Alternative {
    Alternative {
        class: finding.class,
        place: finding.place.clone(),
        headline: finding.headline.clone(),
        score: finding.strength,
    }
}

fn symptoms(scene: &Scene<'_>, state: &State) -> Vec<SymptomLine> {
    let line = |s: &Symptom| SymptomLine {
        measure: s.measure,
        text: symptom_words(&state.service, s),
        normal: s.normal,
        level: s.level,
        since: s.windows.during.from,
        until: (s.windows.during.to < scene.span.to).then_some(s.windows.during.to),
        chart: Chart { values: s.values.clone() },
    };
    state.symptoms.iter().map(line).collect()
}

fn symptom_words(service: &Name, symptom: &Symptom) -> String {
    let figure = |v: f64| match symptom.measure {
        Measure::P50 | Measure::P90 | Measure::P99 => units::time(v),
        Measure::Errors | Measure::Unanswered => units::percent(v),
        Measure::Rate | Measure::FailedConnects => units::number(v),
    };
    let level = figure(symptom.level);
    let what = symptom.measure.words();
    match symptom.normal {
        None => format!("{what} of {service}: {level}, for as long as it was observed"),
        Some(normal) if normal > 0.0 => format!(
            "{what} of {service}: {level} instead of {} ({})",
            figure(normal),
            units::times(normal, symptom.level)
        ),
        Some(_) => format!("{what} of {service}: {level} instead of none"),
    }
}
