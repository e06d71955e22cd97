//! Public data through the engine: `TAPROOT_DATA` names the folder whose
//! `diagnosis/` holds it.
//! Each bound is a little below what `docs/accuracy.md` says.

use std::path::PathBuf;

use taproot_eval::{EvalError, Mode, Outcome, reliability, run};
use taproot_testkit::skip;

/// The outcome of a set, or why it cannot be had here.
fn outcome(name: &str, mode: Mode) -> Result<Outcome, String> {
    let data = std::env::var_os("TAPROOT_DATA").map(PathBuf::from);
    let data = data.ok_or("TAPROOT_DATA names no folder of public data sets")?.join("diagnosis");
    match run(name, &data, mode) {
        Ok((outcome, _)) => Ok(outcome),
        Err(error @ EvalError::NotFound { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

fn at_least(outcome: &Outcome, bounds: &[(&str, f64)]) {
    for (measure, bound) in bounds {
        let value = outcome.value(measure).expect("the measure is in the table");
        assert!(value >= *bound, "{measure} {value:.3} is below {bound}\n{}", outcome.table_text());
    }
}

#[test]
fn sock_shop_in_three_modes() {
    for mode in [Mode::Blind, Mode::Given { late: 0 }, Mode::Given { late: 60 }] {
        match outcome("sockshop1", mode) {
            Ok(found) => at_least(&found, &[("service AC@1", 0.99), ("metric AC@1", 0.96)]),
            Err(why) => skip!("{why}"),
        }
    }
}

#[test]
fn petshop() {
    match outcome("petshop", Mode::Blind) {
        Ok(found) => at_least(&found, &[("top-1", 0.95), ("top-3", 0.99), ("specificity", 0.9)]),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn nezha_train_ticket() {
    match outcome("nezha_trainticket", Mode::Blind) {
        Ok(found) => at_least(&found, &[("AS@1", 0.84), ("AS@3", 0.99)]),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn nezha_online_boutique() {
    match outcome("nezha_onlineboutique", Mode::Blind) {
        Ok(found) => at_least(&found, &[("AS@1", 0.9)]),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn notices_of_tvdiag() {
    for (name, first, kind) in [("tvdiag_sockshop", 0.68, 0.60), ("tvdiag_gaia", 0.47, 0.62)] {
        match outcome(name, Mode::Blind) {
            Ok(found) => at_least(&found, &[("HR@1", first), ("type F1", kind)]),
            Err(why) => skip!("{why}"),
        }
    }
}

#[test]
fn root_cause_bench() {
    match outcome("rootcausebench", Mode::Blind) {
        Ok(found) => at_least(&found, &[("all right", 0.99), ("decoys refused", 0.99)]),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn confidence_says_how_often_it_is_right() {
    let sets = [
        "sockshop1",
        "petshop",
        "nezha_trainticket",
        "nezha_onlineboutique",
        "tvdiag_sockshop",
        "tvdiag_gaia",
    ];
    let mut claims = Vec::new();
    for name in sets {
        match outcome(name, Mode::Blind) {
            Ok(found) => claims.extend(found.rows.iter().filter_map(|row| row.claim)),
            Err(why) => skip!("{why}"),
        }
    }
    let error = reliability::error(&claims);
    assert!(error < 0.08, "{error:.3} over {} claims", claims.len());
}

/// The confidence of live verdicts, on runs of the lab that are kept beside this file.
#[test]
fn live_verdicts_are_right_as_often_as_they_say() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (found, _) = taproot_eval::run("lab", &here, Mode::Blind).expect("runs of the lab");
    let claims: Vec<_> = found.rows.iter().filter_map(|row| row.claim).collect();
    let error = reliability::error(&claims);
    assert!(claims.len() > 300 && error < 0.05, "{error:.3} over {} claims", claims.len());
    let unsure: Vec<_> = claims.iter().filter(|c| c.confidence < 0.5).collect();
    let right = unsure.iter().filter(|c| c.right).count();
    assert!(2 * right <= unsure.len(), "{right} of {} unsure claims are right", unsure.len());
}

#[test]
fn loghub() {
    match outcome("loghub_2k", Mode::Blind) {
        Ok(found) => at_least(&found, &[("GA", 0.93), ("FGA", 0.93), ("PA", 0.6), ("FTA", 0.65)]),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn slices() {
    let given = Mode::Given { late: 0 };
    for (name, bound) in [("RS", 0.72), ("riskloc_S", 0.94), ("riskloc_L", 0.99)] {
        match outcome(name, given) {
            Ok(found) => at_least(&found, &[("F1", bound)]),
            Err(why) => skip!("{why}"),
        }
    }
}

#[test]
fn streams_and_change_points() {
    match outcome("NAB", Mode::Blind) {
        Ok(found) => at_least(&found, &[("standard", 62.0), ("low FP", 53.5)]),
        Err(why) => skip!("{why}"),
    }
    match outcome("TCPD", Mode::Blind) {
        Ok(found) => at_least(&found, &[("F1", 0.80), ("cover", 0.72)]),
        Err(why) => skip!("{why}"),
    }
}

#[test]
fn two_runs_are_equal() {
    let text = || {
        outcome("petshop", Mode::Given { late: 60 })
            .map(|found| serde_json::to_string(&found).expect("an outcome is JSON"))
    };
    match text() {
        Ok(first) => assert!(Ok(first) == text(), "two runs differ"),
        Err(why) => skip!("{why}"),
    }
}
