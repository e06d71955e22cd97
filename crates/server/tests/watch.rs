//! The watch of a trouble whose packets are followed: its report says what they told.

use std::path::Path;

use taproot_diagnosis::Traced;
use taproot_diagnosis::traced::{Fate, Seen, Told};
use taproot_model::{Blame, Category, Timestamp};
use taproot_server::Watch;
use taproot_store::Source;
use taproot_world::{Config, World};

const RULE: &str = "nft ip fw forward handle 7";
const FIX: &str = "nft delete rule ip fw forward handle 7";

/// A run of the lab's shop.
fn recorded(name: &str) -> World {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/tests/recordings");
    let source = Source::detect(&folder.join(name)).expect("a recording");
    let mut world = World::new(Config::default());
    let span = source.extent().expect("readable").expect("signals");
    let span = taproot_model::Span::new(span.from, Timestamp(span.to.0 + 1));
    source.read(span, &mut |signal| world.add(&signal)).expect("readable");
    world
}

fn dropped() -> Seen {
    Seen::Traced(Told {
        fate: Fate::Dropped,
        headline: "TCP segment was dropped in node n1 at c0: NETFILTER_DROP".to_owned(),
        story: Vec::new(),
        reason: "NETFILTER_DROP".into(),
        blame: Some(Blame {
            category: Category::Firewall,
            object: RULE.to_owned(),
            because: "This rule drops it.".to_owned(),
            advice: FIX.to_owned(),
            proved: true,
        }),
        packets: 30,
        followed: 40,
        lost: 0,
        seconds: 6.0,
    })
}

#[test]
fn what_packets_told_stays_in_the_report_while_the_trouble_lasts() {
    let world = recorded("packet-loss-1.taproot");
    let mut watch = Watch::new();
    let before = watch.look(&world).expect("a look").expect("a trouble");
    assert!(!before.text.contains(RULE), "{}", before.text);
    let (id, link) = watch.take_link().expect("a link whose packets can tell");
    assert_eq!(id, before.head.id);
    assert_eq!(watch.take_link(), None, "once for a verdict");
    watch.look(&world).expect("a look").expect("a trouble");
    assert_eq!(watch.take_link(), None, "not again at the next look");

    let seen = |seen| Traced {
        edge: link.key.clone(),
        client: link.client.clone(),
        server: link.server.clone(),
        seen,
    };
    watch.put(&"another".into(), seen(dropped()));
    let other = watch.look(&world).expect("a look").expect("a trouble");
    assert_eq!(other.text, before.text, "of another trouble's packets nothing is said");
    watch.put(&id, seen(Seen::NotTraced { why: "too soon".to_owned() }));
    watch.put(&id, seen(dropped()));
    for _ in 0..2 {
        let after = watch.look(&world).expect("a look").expect("a trouble");
        assert_eq!(after.head.id, before.head.id, "the same trouble");
        for part in [RULE, FIX, "NETFILTER_DROP"] {
            assert!(after.text.contains(part), "`{part}` is missing in\n{}", after.text);
            assert!(after.json.contains(part), "`{part}` is missing in {}", after.json);
        }
        assert!(!after.text.contains("too soon"), "{}", after.text);
    }
}

#[test]
fn where_packets_have_nothing_to_tell_none_are_followed() {
    let mut watch = Watch::new();
    let _ = watch.look(&recorded("cpu-limit-2.taproot")).expect("a look");
    assert_eq!(watch.take_link(), None);
}
