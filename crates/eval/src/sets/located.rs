//! What sets share that ask for a ranked list of culprits.

use taproot_diagnosis::locate::Located;

use crate::ranking;
use crate::reliability::Claim;

/// Who was to blame.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) entity: String,
    pub(super) metric: Option<String>,
    pub(super) group: String,
}

/// Rank of an entity in an answer, ties counted at the worst.
pub(super) fn rank(answer: &Located, entity: &str) -> Option<usize> {
    let list: Vec<(&str, f64)> =
        answer.culprits.iter().map(|culprit| (culprit.entity.as_str(), culprit.score)).collect();
    ranking::worst_rank(&list, |name| *name == entity)
}

/// The first culprit as a claim; none where there is no culprit, in truth or answer.
pub(super) fn claim(answer: &Located, truth: &Truth) -> Option<Claim> {
    let first = answer.culprits.first().filter(|_| !truth.entity.is_empty())?;
    let right = rank(answer, &truth.entity) == Some(1);
    Some(Claim { confidence: first.confidence, right })
}

/// The first three.
pub(super) fn brief(answer: &Located) -> String {
    if answer.culprits.is_empty() {
        return "nothing is wrong".into();
    }
    let one = |culprit: &taproot_diagnosis::locate::Culprit| {
        let metric = culprit.metric.as_deref().map_or(String::new(), |m| format!(" {m}"));
        format!("{}{metric} {:.2}", culprit.entity, culprit.confidence)
    };
    answer.culprits.iter().take(3).map(one).collect::<Vec<_>>().join(", ")
}

/// The truth in a few words.
pub(super) fn brief_truth(truth: &Truth) -> String {
    match &truth.metric {
        Some(metric) => format!("{} {metric}", truth.entity),
        None => format!("{} ({})", truth.entity, truth.group),
    }
}
