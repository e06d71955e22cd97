//! What every diagnosis looks at, as figures for "not the cause".

use super::{Class, RuledOut};
use crate::evidence::Link;
use crate::scene::{Scene, Windows};
use crate::units;
use std::collections::BTreeSet;
use taproot_model::{Entity, LifecycleKind, Name, metric};

/// The highest of a figure over entities, and whose it is.
fn highest<'e>(
    entities: &[&'e Entity],
    of: impl Fn(&Entity) -> Option<f64>,
) -> Option<(f64, &'e Name)> {
    let all = entities.iter().filter_map(|e| Some((of(e)?, e.instance())));
    all.max_by(|a, b| a.0.total_cmp(&b.0))
}

/// A sentence for each common class with the worst figure seen at `services`.
/// A figure that nobody reports rules nothing out and gives no sentence.
pub(crate) fn checked(scene: &Scene<'_>, services: &BTreeSet<Name>) -> Vec<RuledOut> {
    let w = scene.trouble.unwrap_or(Windows::whole(scene.span));
    let near: Vec<&Entity> =
        scene.entities.values().filter(|e| services.contains(&e.service)).collect();
    let mut out = Vec::new();
    let mut put = |class, text| out.push(RuledOut { class, text });
    let rate = |e: &Entity, name| scene.rate(&e.id, name, "", w.during);
    if let Some((wait, who)) = highest(&near, |e| rate(e, metric::CPU_RUNQUEUE_TIME)) {
        put(
            Class::NoisyNeighbour,
            format!(
                "no new neighbour takes CPU time: {who} waits most for a CPU, {} a second",
                units::time(wait)
            ),
        );
    }
    let stopped = |e: &Entity| {
        let levels = scene.attributes(&e.id, metric::CPU_THROTTLED_TIME);
        let rates = levels.iter();
        rates
            .filter_map(|a| scene.rate(&e.id, metric::CPU_THROTTLED_TIME, a, w.during))
            .reduce(f64::max)
    };
    if let Some((time, who)) = highest(&near, stopped) {
        put(
            Class::CpuLimit,
            format!("CPU limits stop nobody for long: {who} most, {} a second", units::time(time)),
        );
    }
    let fds = |e: &Entity| {
        Some(scene.last(&e.id, metric::FD_COUNT)? / scene.last(&e.id, metric::FD_LIMIT)?)
    };
    if let Some((share, who)) = highest(&near, fds) {
        let text = format!(
            "file descriptors are free: {who} uses most, {} of its limit",
            units::percent(share)
        );
        put(Class::FdExhaustion, text);
    }
    let kills = scene.happenings.lifecycle.iter().filter(|l| l.kind == LifecycleKind::OomKill);
    if kills.count() == 0
        && let Some((share, who)) = highest(&near, |e| {
            Some(
                scene.last(&e.id, metric::MEMORY_USAGE)?
                    / scene.last(&e.id, metric::MEMORY_LIMIT)?,
            )
        })
    {
        let text = format!(
            "nobody was killed for memory: {who} uses most, {} of its limit",
            units::percent(share)
        );
        put(Class::OomKill, text);
    }
    network(scene, services, &w, &mut put);
    out
}

fn network(
    scene: &Scene<'_>,
    services: &BTreeSet<Name>,
    w: &Windows,
    put: &mut impl FnMut(Class, String),
) {
    let near = scene.links.iter().filter(|l| services.contains(&l.server));
    let mut slowest: Option<(f64, &Link)> = None;
    let (mut links, mut again, mut packets, mut refused) = (0, 0, 0, 0);
    for link in near {
        let flow = scene.flow(link, w.during);
        links += 1;
        again += flow.retransmits;
        packets += flow.request_packets + flow.response_packets;
        refused += flow.failed();
        let rtt = flow.rtt.quantile(0.5).map(|ns| ns / 1e9);
        if let Some(rtt) = rtt.filter(|r| slowest.is_none_or(|s| *r > s.0)) {
            slowest = Some((rtt, link));
        }
    }
    if links > 0 {
        let text = format!("of {packets} packets {again} were sent again");
        put(Class::PacketLoss, text);
        put(Class::ConnectionRefused, format!("{refused} connections failed"));
    }
    if let Some((rtt, link)) = slowest {
        let text = format!(
            "links are quick: the slowest, {} → {}, takes {} there and back",
            link.client,
            link.server,
            units::time(rtt)
        );
        put(Class::LinkDelay, text);
    }
    let table = |e: &Entity| {
        let limit = scene.last(&e.id, metric::CONNTRACK_LIMIT)?;
        Some(scene.last(&e.id, metric::CONNTRACK_COUNT)? / limit)
    };
    let near: Vec<&Entity> =
        scene.entities.values().filter(|e| services.contains(&e.service)).collect();
    if let Some((share, who)) = highest(&near, table) {
        let text =
            format!("connection tables have room: {who} uses most, {}", units::percent(share));
        put(Class::ConntrackFull, text);
    }
}
