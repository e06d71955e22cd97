//! Whether confidence means what it says: claims by their confidence, and how many of
//! them were right.

use std::fmt::Write;

use serde::Serialize;

use crate::outcome::Outcome;

/// The first claim of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Claim {
    /// How sure it was, 0 to 1.
    pub confidence: f64,
    /// Whether it was right.
    pub right: bool,
}

/// Claims of like confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many.
    pub claims: usize,
    /// Mean confidence.
    pub confidence: f64,
    /// Share that was right.
    pub right: f64,
}

const BINS: usize = 10;

/// Ten bins of equal width, from unsure to sure.
pub fn bins(claims: &[Claim]) -> [Bin; BINS] {
    let mut bins = [Bin::default(); BINS];
    for claim in claims {
        let at = ((claim.confidence * BINS as f64) as usize).min(BINS - 1);
        bins[at].claims += 1;
        bins[at].confidence += claim.confidence;
        bins[at].right += f64::from(u8::from(claim.right));
    }
    for bin in &mut bins {
        let all = bin.claims.max(1) as f64;
        (bin.confidence, bin.right) = (bin.confidence / all, bin.right / all);
    }
    bins
}

/// The expected calibration error (Naeini, Cooper and Hauskrecht 2015): how far
/// confidence lies from the share that is right, over bins by their claims. Zero
/// without claims.
pub fn error(claims: &[Claim]) -> f64 {
    let all = claims.len().max(1) as f64;
    let part = |bin: &Bin| bin.claims as f64 / all * (bin.confidence - bin.right).abs();
    bins(claims).iter().map(part).sum()
}

fn claims(outcome: &Outcome) -> Vec<Claim> {
    outcome.rows.iter().filter_map(|row| row.claim).collect()
}

/// A table of the bins of all outcomes together, and the error of each. Empty where
/// nothing was claimed.
pub fn text(outcomes: &[Outcome]) -> String {
    let by_set: Vec<(&str, Vec<Claim>)> =
        outcomes.iter().map(|o| (o.set, claims(o))).filter(|(_, c)| !c.is_empty()).collect();
    let all: Vec<Claim> = by_set.iter().flat_map(|(_, c)| c.iter().copied()).collect();
    let mut out = String::new();
    if all.is_empty() {
        return out;
    }
    let _ = writeln!(out, "reliability  claims  confidence   right");
    for (at, bin) in bins(&all).iter().enumerate().filter(|(_, bin)| bin.claims > 0) {
        let (from, to) = (at as f64 / BINS as f64, (at + 1) as f64 / BINS as f64);
        let _ = writeln!(
            out,
            "{from:.1} to {to:.1}{:>10}{:>12.3}{:>8.3}",
            bin.claims, bin.confidence, bin.right
        );
    }
    for (set, claims) in by_set.iter().map(|(s, c)| (*s, c)).chain([("all", &all)]) {
        let _ = writeln!(out, "calibration error of {set}: {:.3}", error(claims));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Mode;

    fn claim(confidence: f64, right: bool) -> Claim {
        Claim { confidence, right }
    }

    #[test]
    fn claims_that_are_right_as_often_as_they_say_have_no_error() {
        let fair: Vec<Claim> = (0..10).map(|i| claim(0.75, i % 4 != 0)).collect();
        assert!(error(&fair) < 0.06, "{}", error(&fair));
        let boasting: Vec<Claim> = (0..10).map(|_| claim(0.95, false)).collect();
        assert!((error(&boasting) - 0.95).abs() < 1e-12);
        assert!(error(&[]).abs() < 1e-12);
    }

    #[test]
    fn the_ends_of_the_scale_have_a_bin() {
        let bins = bins(&[claim(0.0, false), claim(1.0, true)]);
        assert_eq!((bins[0].claims, bins[BINS - 1].claims), (1, 1));
    }

    #[test]
    fn sets_without_claims_have_no_line() {
        let silent = Outcome::new("made-up", Mode::Blind, Vec::new(), Vec::new());
        assert!(text(&[silent]).is_empty());
    }
}
