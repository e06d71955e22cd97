//! What others reach on the same data, and what we want to reach.
//!
//! Figures of others were published by their authors or measured with the
//! authors' code on the same cases; `docs/accuracy.md` says which and how.

use std::fmt::Write;

use crate::outcome::Outcome;

/// Who reached what.
type Figure = (&'static str, f64);

/// One measure of one set.
struct Peer {
    set: &'static str,
    measure: &'static str,
    /// What we must reach.
    target: f64,
    peers: &'static [Figure],
}

const PEERS: &[Peer] = &[
    Peer {
        set: "nezha_trainticket",
        measure: "AS@1",
        target: 0.90,
        peers: &[("Nezha, ties at the worst", 0.60), ("Nezha, as it counts", 0.85)],
    },
    Peer {
        set: "nezha_trainticket",
        measure: "AS@3",
        target: 0.98,
        peers: &[("Nezha, ties at the worst", 0.95), ("Nezha, as it counts", 1.0)],
    },
    Peer {
        set: "nezha_onlineboutique",
        measure: "AS@1",
        target: 0.85,
        peers: &[("N-sigma, metrics", 0.52), ("BARO, metrics", 0.27), ("edge gaps, spans", 0.69)],
    },
    Peer {
        set: "sockshop1",
        measure: "service AC@1",
        target: 1.0,
        peers: &[("BARO", 0.96), ("N-sigma", 0.94), ("N-sigma 60 s late", 0.02), ("RCD", 0.28)],
    },
    Peer {
        set: "sockshop1",
        measure: "metric AC@1",
        target: 0.97,
        peers: &[("BARO", 0.86), ("N-sigma", 0.90)],
    },
    Peer {
        set: "petshop",
        measure: "top-1",
        target: 0.92,
        peers: &[("ranked correlation", 0.58), ("CIRCA", 0.39), ("traversal", 0.50)],
    },
    Peer {
        set: "petshop",
        measure: "top-3",
        target: 1.0,
        peers: &[("ranked correlation", 0.77), ("CIRCA", 0.92), ("traversal", 0.77)],
    },
    Peer {
        set: "petshop",
        measure: "specificity",
        target: 0.9,
        peers: &[("traversal, latency", 0.17), ("traversal, availability", 1.0)],
    },
    Peer {
        set: "tvdiag_sockshop",
        measure: "HR@1",
        target: 0.80,
        peers: &[("TVDiag, trained", 0.86), ("random forest", 0.86), ("rarity of alarms", 0.52)],
    },
    Peer {
        set: "tvdiag_sockshop",
        measure: "type F1",
        target: 0.70,
        peers: &[("TVDiag, trained", 0.64), ("random forest", 0.70)],
    },
    Peer {
        set: "tvdiag_gaia",
        measure: "HR@1",
        target: 0.60,
        peers: &[("TVDiag, trained", 0.76), ("random forest", 0.63), ("rarity of alarms", 0.29)],
    },
    Peer {
        set: "tvdiag_gaia",
        measure: "type F1",
        target: 0.75,
        peers: &[("TVDiag, trained", 0.94), ("random forest", 0.75)],
    },
    Peer { set: "rootcausebench", measure: "all right", target: 1.0, peers: &[] },
    Peer {
        set: "loghub_2k",
        measure: "GA",
        target: 0.93,
        peers: &[("Drain3", 0.86), ("Brain", 0.81), ("Brain, tuned per system", 0.96)],
    },
    Peer {
        set: "loghub_2k",
        measure: "FGA",
        target: 0.93,
        peers: &[("Drain3", 0.83), ("Brain", 0.89), ("Brain, tuned per system", 0.93)],
    },
    Peer {
        set: "loghub_2k",
        measure: "PA",
        target: 0.60,
        peers: &[("Drain3", 0.47), ("Brain", 0.47), ("Brain, tuned per system", 0.43)],
    },
    Peer {
        set: "loghub_2k",
        measure: "FTA",
        target: 0.65,
        peers: &[("Drain3", 0.51), ("Brain", 0.52), ("Brain, tuned per system", 0.48)],
    },
    Peer {
        set: "RS",
        measure: "F1",
        target: 0.72,
        peers: &[("RobustSpot", 0.63), ("Adtributor", 0.42), ("AutoRoot", 0.26), ("RiskLoc", 0.03)],
    },
    Peer {
        set: "riskloc_S",
        measure: "F1",
        target: 0.80,
        peers: &[("RiskLoc", 0.73), ("AutoRoot", 0.44), ("Adtributor", 0.07)],
    },
    Peer {
        set: "riskloc_L",
        measure: "F1",
        target: 0.80,
        peers: &[("RiskLoc", 0.72), ("AutoRoot", 0.50), ("Adtributor", 0.0)],
    },
    Peer {
        set: "NAB",
        measure: "standard",
        target: 60.0,
        peers: &[("ARTime", 74.9), ("HTM", 70.1), ("windowed Gaussian", 39.7)],
    },
    Peer { set: "NAB", measure: "low FP", target: 52.0, peers: &[("ARTime", 65.1), ("HTM", 63.1)] },
    Peer { set: "TCPD", measure: "F1", target: 0.74, peers: &[("PELT", 0.72), ("none", 0.66)] },
    Peer { set: "TCPD", measure: "cover", target: 0.70, peers: &[("PELT", 0.68), ("none", 0.56)] },
];

/// A line for each measure that others were scored on.
pub fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    for peer in PEERS.iter().filter(|peer| peer.set == outcome.set) {
        let Some(ours) = outcome.value(peer.measure) else { continue };
        let others: Vec<_> =
            peer.peers.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        let _ = writeln!(
            out,
            "{}: {ours:.3}, to reach {:.2}; {}",
            peer.measure,
            peer.target,
            if others.is_empty() { "no other figures".to_owned() } else { others.join(", ") }
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::Mode;
    use crate::outcome::{ALL, Measure};
    use crate::sets;

    #[test]
    fn every_peer_belongs_to_a_set() {
        let names: Vec<_> = sets::all().iter().map(|set| set.name()).collect();
        assert!(PEERS.iter().all(|peer| names.contains(&peer.set)));
    }

    #[test]
    fn ours_stands_beside_theirs() {
        let measure = Measure { group: ALL.into(), name: "GA".into(), value: 0.9, cases: 8 };
        let outcome = Outcome::new("loghub_2k", Mode::Blind, Vec::new(), vec![measure]);
        let text = text(&outcome);
        assert!(text.starts_with("GA: 0.900, to reach 0.93; Drain3 0.86"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
