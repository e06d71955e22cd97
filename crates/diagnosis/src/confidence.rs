//! From how well the evidence proves a verdict to how often such a verdict is right.

use crate::Class;
use crate::fault::Family;

/// The power to which the odds of a score are raised. Fitted to some three hundred
/// verdicts on faults that were really injected (decision 0070).
const POWER: f64 = 3.0;
/// No fault is claimed more surely than the surest claims were right.
const SUREST: f64 = 0.98;

/// How sure a verdict is whose evidence has `score`, 0 to 1.
///
/// A fault's is a power of its odds: `s^k / (s^k + (1-s)^k)`. That is Platt's (1999)
/// logistic calibration through the point where the score itself says "even". What is no
/// fault keeps its score: that one was right as often as it says.
pub fn confidence(class: Class, score: f64) -> f64 {
    if class.family() == Family::None {
        return score;
    }
    let score = score.clamp(0.0, 1.0);
    let (right, wrong) = (score.powf(POWER), (1.0 - score).powf(POWER));
    (right / (right + wrong)).min(SUREST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surer_evidence_is_surer_and_even_stays_even() {
        let of = |score| confidence(Class::Crash, score);
        assert!((of(0.5) - 0.5).abs() < 1e-12);
        assert!(of(0.0) < 1e-12 && (of(1.0) - SUREST).abs() < 1e-12);
        let scores = (0..=100).map(|i| of(f64::from(i) / 100.0));
        assert!(scores.clone().zip(scores.skip(1)).all(|(a, b)| a <= b));
    }

    #[test]
    fn health_is_as_sure_as_its_look_was_long() {
        assert!((confidence(Class::Healthy, 0.9) - 0.9).abs() < 1e-12);
        assert!((confidence(Class::Unknown, 0.3) - 0.3).abs() < 1e-12);
    }
}
