//! What followed packets tell enters as evidence: it names the object at fault, settles
//! between classes, and speaks for nothing where packets arrive.

mod shop;

use shop::{Second, ask, edge, world};
use taproot_diagnosis::traced::{Fate, Seen, Told};
use taproot_diagnosis::{
    Class, Evidence, Question, Report, Traced, WithTraces, diagnose, render, to_trace,
};
use taproot_model::{Blame, Category, Role, Transport};
use taproot_world::{EdgeKey, World};

const OBJECT: &str = "nft ip fw forward handle 7";
const FIX: &str = "nft delete rule ip fw forward handle 7";

fn lossy() -> World {
    world(1, 100, 55, |s: &mut Second, _, noise| {
        let call = s.call("product", "inventory");
        call.lost = 0.25;
        call.flow.retransmits = noise.poisson(12.0);
    })
}

fn told(fate: Fate, reason: &str, category: Option<Category>) -> Told {
    let blame = category.map(|category| Blame {
        category,
        object: OBJECT.to_owned(),
        because: "This rule drops it.".to_owned(),
        advice: FIX.to_owned(),
        proved: true,
    });
    Told {
        fate,
        headline: format!("TCP segment was dropped in node n1 at c0: {reason}"),
        story: vec!["It answers a request.".to_owned()],
        reason: reason.into(),
        blame,
        packets: 12,
        followed: 240,
        lost: 0,
        seconds: 6.0,
    }
}

fn traced(seen: Seen) -> Traced {
    let of = edge("product", "inventory", Role::Client);
    Traced {
        edge: EdgeKey {
            client: of.client.entity,
            server: of.server.entity,
            port: of.server.addr.port(),
            transport: Transport::Tcp,
        },
        client: "product".into(),
        server: "inventory".into(),
        seen,
    }
}

fn ask_with(world: &World, seen: Seen) -> Report {
    let evidence = WithTraces::new(world, vec![traced(seen)]);
    let span = evidence.span();
    diagnose(&evidence, &Question { service: Some("gateway".into()), span }).expect("an answer")
}

#[test]
fn the_link_at_fault_is_the_one_to_follow() {
    let world = lossy();
    let report = ask(&world, Some("gateway"));
    let links = to_trace(&world, &report);
    let first = links.first().expect("a link");
    assert_eq!((&*first.client, &*first.server), ("product", "inventory"), "{links:?}");
    assert!(links.len() <= 2);
}

#[test]
fn where_nothing_is_lost_no_packet_is_followed() {
    let healthy = world(1, 100, 200, |_: &mut Second, _, _| {});
    let report = ask(&healthy, Some("gateway"));
    assert_eq!(report.verdict.class, Class::Healthy);
    assert_eq!(to_trace(&healthy, &report), []);
}

#[test]
fn a_rule_that_drops_is_named_in_every_form() {
    let world = lossy();
    let before = ask(&world, Some("gateway"));
    let seen = Seen::Traced(told(Fate::Dropped, "NETFILTER_DROP", Some(Category::Firewall)));
    let report = ask_with(&world, seen);
    assert_eq!(report.verdict.class, Class::PacketLoss);
    let culprit = report.verdict.culprit.as_ref().expect("somebody");
    assert_eq!(culprit.name, OBJECT);
    assert_eq!(report.advice.fix.first().map(String::as_str), Some(FIX));
    assert!(report.verdict.confidence >= before.verdict.confidence);
    let line = report.evidence.iter().find(|line| line.signal == "trace.verdict");
    assert!(
        line.is_some_and(|line| (line.value - 12.0).abs() < f64::EPSILON),
        "{:?}",
        report.evidence
    );
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["traces"][0]["state"], "traced");
    assert_eq!(json["traces"][0]["blame"]["object"], OBJECT);
    for text in [render::text(&report), render::markdown(&report)] {
        for part in [OBJECT, FIX, "This rule drops it", "It answers a request"] {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
    }
    assert_eq!(serde_json::to_value(&before).expect("JSON")["traces"], serde_json::json!([]));
}

#[test]
fn packets_settle_between_classes() {
    let seen = Seen::Traced(told(Fate::Dropped, "IP_RPFILTER", Some(Category::Routing)));
    let report = ask_with(&lossy(), seen);
    assert_eq!(report.verdict.class, Class::WrongRoute, "{}", render::text(&report));
    assert_eq!(report.verdict.culprit.expect("something").name, OBJECT);
}

#[test]
fn packets_that_arrive_or_that_nobody_misses_change_no_verdict() {
    let world = lossy();
    let before = ask(&world, Some("gateway"));
    let few = Told { packets: 1, followed: 240, ..told(Fate::Dropped, "NETFILTER_DROP", None) };
    for seen in [
        told(Fate::Passed, "", None),
        told(Fate::Nothing, "", None),
        told(Fate::Dropped, "TCP_OLD_DATA", None),
        few,
    ] {
        let fate = seen.fate;
        let report = ask_with(&world, Seen::Traced(seen));
        assert_eq!(report.verdict, before.verdict, "{fate:?}");
        assert_eq!(report.evidence, before.evidence, "{fate:?}");
        assert_eq!(report.traces.len(), 1);
    }
}

#[test]
fn what_could_not_be_followed_is_said() {
    let why = "no tracepoint here";
    let world = lossy();
    let before = ask(&world, Some("gateway"));
    let report = ask_with(&world, Seen::NotTraced { why: why.to_owned() });
    assert_eq!(report.verdict, before.verdict);
    assert!(report.blind.iter().any(|b| b.text.contains(why)), "{:?}", report.blind);
    assert!(render::text(&report).contains(why));
}
