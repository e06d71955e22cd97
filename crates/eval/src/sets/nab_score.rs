//! NAB's scoring (Lavin and Ahmad 2015), as its own program does it.
//!
//! In each window the first alarm counts, more the earlier it is; an alarm outside
//! costs, less shortly after a window. The threshold is the one that is best for the
//! whole corpus and profile. 0 is saying nothing, 100 an alarm at the start of each
//! window and nothing else.

use std::collections::BTreeMap;

/// What mistakes cost.
#[derive(Debug)]
pub(super) struct Profile {
    /// Name of the score.
    pub(super) name: &'static str,
    /// Name of its threshold.
    pub(super) threshold: &'static str,
    false_alarm: f64,
    missed: f64,
}

/// Two of the benchmark's profiles.
pub(super) const PROFILES: [Profile; 2] = [
    Profile { name: "standard", threshold: "threshold", false_alarm: 0.11, missed: 1.0 },
    Profile { name: "low FP", threshold: "threshold low FP", false_alarm: 0.22, missed: 1.0 },
];

/// A file with its scores and windows.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) points: usize,
    /// Place and score of points, by place; others score zero.
    pub(super) scores: Vec<(usize, f64)>,
    /// First and last place of each window, in order.
    pub(super) windows: Vec<(usize, usize)>,
}

/// The best that a corpus reaches.
#[derive(Debug)]
pub(super) struct Best {
    pub(super) score: f64,
    pub(super) threshold: f64,
    /// What each file adds, in units of a window.
    pub(super) files: Vec<f64>,
}

/// An alarm at a point, if the threshold is low enough.
struct Alarm {
    score: f64,
    file: usize,
    window: Option<usize>,
    worth: f64,
}

/// 1 far before, 0 at, and -1 far behind the end of a window.
fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// Points at the beginning of a file that are not scored.
fn probation(points: usize) -> usize {
    const SHARE: f64 = 0.15;
    const MOST: usize = 750;
    ((SHARE * points as f64) as usize).min(MOST)
}

fn worth(at: usize, windows: &[(usize, usize)], profile: &Profile) -> (Option<usize>, f64) {
    let inside = windows.iter().position(|(first, last)| (*first..=*last).contains(&at));
    if let Some(window) = inside {
        let (first, last) = windows[window];
        let position = -((last - at + 1) as f64) / (last - first + 1) as f64;
        return (Some(window), sigmoid(position) / sigmoid(-1.0));
    }
    let before = windows.iter().rfind(|(_, last)| *last < at);
    let cost = before
        .map_or(-1.0, |(first, last)| sigmoid((at - last) as f64 / (last - first).max(1) as f64));
    (None, cost * profile.false_alarm)
}

fn alarms(corpus: &[Scored], profile: &Profile) -> Vec<Alarm> {
    let of = |(file, scored): (usize, &Scored)| {
        let judged = scored.scores.iter().filter(|(at, _)| *at >= probation(scored.points));
        let alarm = |(at, score): &(usize, f64)| {
            let (window, worth) = worth(*at, &scored.windows, profile);
            Alarm { score: *score, file, window, worth }
        };
        judged.map(alarm).collect::<Vec<_>>()
    };
    let mut alarms: Vec<Alarm> = corpus.iter().enumerate().flat_map(of).collect();
    alarms.sort_by(|a, b| b.score.total_cmp(&a.score));
    alarms
}

/// The best score over all thresholds.
pub(super) fn best(corpus: &[Scored], profile: &Profile) -> Best {
    let windows: usize = corpus.iter().map(|f| f.windows.len()).sum();
    let silent = -profile.missed * windows as f64;
    let mut files: Vec<f64> =
        corpus.iter().map(|f| -profile.missed * f.windows.len() as f64).collect();
    let mut best = Best { score: silent, threshold: f64::INFINITY, files: files.clone() };
    let mut caught: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let mut total = silent;
    let alarms = alarms(corpus, profile);
    // Alarms of one score come together: no threshold lies between them.
    for equal in alarms.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
        for alarm in equal {
            let gain = alarm.window.map_or(alarm.worth, |window| {
                let had = caught.entry((alarm.file, window)).or_insert(-profile.missed);
                let gain = (alarm.worth - *had).max(0.0);
                *had += gain;
                gain
            });
            total += gain;
            files[alarm.file] += gain;
        }
        if total > best.score {
            best = Best { score: total, threshold: equal[0].score, files: files.clone() };
        }
    }
    let perfect = windows as f64;
    best.score = if windows > 0 { 100.0 * (best.score - silent) / (perfect - silent) } else { 0.0 };
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(scores: &[(usize, f64)]) -> Vec<Scored> {
        vec![Scored { points: 1000, scores: scores.to_vec(), windows: vec![(400, 499)] }]
    }

    fn standard(scores: &[(usize, f64)]) -> f64 {
        best(&corpus(scores), &PROFILES[0]).score
    }

    #[test]
    fn first_point_of_a_window_is_perfect_and_silence_is_nothing() {
        assert!((standard(&[(400, 1.0)]) - 100.0).abs() < 1e-9);
        assert!(standard(&[]).abs() < 1e-9);
    }

    #[test]
    fn late_is_less_and_a_false_alarm_costs_its_weight() {
        assert!(standard(&[(450, 1.0)]) < standard(&[(420, 1.0)]));
        let alarm = standard(&[(400, 1.0), (200, 1.0)]);
        assert!((alarm - (100.0 - 0.11 * 50.0)).abs() < 1e-9, "{alarm}");
        assert!(best(&corpus(&[(400, 1.0), (200, 1.0)]), &PROFILES[1]).score < alarm);
    }

    #[test]
    fn the_threshold_leaves_out_what_costs() {
        assert!((standard(&[(400, 1.0), (200, 0.5)]) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn probation_is_not_judged() {
        assert!((standard(&[(400, 1.0), (100, 1.0)]) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn just_behind_a_window_costs_less_than_far() {
        let near = worth(505, &[(400, 499)], &PROFILES[0]).1;
        let far = worth(900, &[(400, 499)], &PROFILES[0]).1;
        assert!(far < near && near < 0.0, "{near} {far}");
    }
}
