//! Following the packets of a link in trouble, for a live diagnosis.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use taproot_agent::Options as AgentOptions;
use taproot_diagnosis::traced::{Fate, Seen, Told};
use taproot_diagnosis::{Link, Traced};
use taproot_kube::Resolver;
use taproot_model::{Entity, EntityId, EntityKind, Step};
use taproot_probes::trace::{Event, Options, Tracer};
use taproot_trace::filter::{Expr, Side};
use taproot_trace::judge::{self, Outcome, Verdict};
use taproot_trace::{Namespaces, Trace};

use crate::live;
use crate::trace_filter::patient;
use crate::trace_names::ClusterNames;

/// How often the ring is emptied.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Hops that one CPU may report in a second: enough to judge by, too few to be felt.
const BUDGET: u32 = 20_000;
/// Hops kept in memory at most; then it is enough.
const MOST_HOPS: usize = 100_000;

/// Follows the packets of each link for `look`, one link after the other.
pub(crate) fn follow(
    links: &[Link],
    entities: Vec<Entity>,
    options: AgentOptions,
    look: Duration,
    interrupted: &AtomicBool,
) -> Vec<Traced> {
    let names = ClusterNames::new(Resolver::start(options.names), options.node_netns.as_deref());
    let entities = entities.into_iter().map(|e| (e.id.clone(), e)).collect();
    let follower = Follower { names, entities, look, interrupted };
    let seen = |link: &Link| match follower.link(link) {
        Ok(told) => Seen::Traced(told),
        Err(error) => Seen::NotTraced { why: format!("{error:#}") },
    };
    let traced = |link: &Link| Traced {
        edge: link.key.clone(),
        client: link.client.clone(),
        server: link.server.clone(),
        seen: seen(link),
    };
    links.iter().map(traced).collect()
}

struct Follower<'a> {
    names: ClusterNames,
    entities: BTreeMap<EntityId, Entity>,
    look: Duration,
    interrupted: &'a AtomicBool,
}

impl Follower<'_> {
    fn link(&self, link: &Link) -> Result<Told> {
        let tests = self.filter(link)?.compile()?;
        let mut namespaces = Namespaces::find(Path::new("/proc"), Path::new("/run/netns"));
        namespaces.remember(self.names.inodes());
        let mut tracer = Tracer::start(&Options { tests, budget: BUDGET, ..Options::default() })?;
        let begin = Instant::now();
        let mut events: Vec<Event> = Vec::new();
        while begin.elapsed() < self.look && events.len() < MOST_HOPS {
            if live::pause(LOOK_EVERY, self.interrupted) {
                bail!("it was interrupted");
            }
            events.extend(tracer.poll()?);
        }
        let seconds = begin.elapsed().as_secs_f64();
        events.extend(tracer.stop()?);
        let trace = Trace::assemble(events, tracer.account()?);
        let verdicts = judge::judge(&trace, &self.names, &namespaces);
        let worst = verdicts.into_iter().next().context("a trace without a verdict")?;
        Ok(told(&trace, worst, seconds))
    }

    /// What goes between the two ends, to the address that is dialled or to the server's own.
    fn filter(&self, link: &Link) -> Result<Expr> {
        let own = self.addresses(&link.key.server);
        let own = own.into_iter().map(|ip| SocketAddr::new(ip, link.key.port));
        let mut servers: Vec<SocketAddr> = link.address.into_iter().chain(own).collect();
        servers.sort_unstable();
        servers.dedup();
        if servers.is_empty() {
            bail!("no address of {} is known", link.server);
        }
        let at = |end: SocketAddr| {
            let port = Expr::ports(end.port(), end.port(), Side::Either);
            Expr::host(end.ip(), Side::Either).and(port)
        };
        let filter = Expr::Any(servers.into_iter().map(at).collect());
        let clients = self.addresses(&link.key.client);
        if clients.is_empty() {
            return Ok(filter);
        }
        let clients = clients.into_iter().map(|ip| Expr::host(ip, Side::Either));
        Ok(filter.and(Expr::Any(clients.collect())))
    }

    /// All addresses of an end; none where they tell it from nobody (a node's own).
    fn addresses(&self, id: &EntityId) -> Vec<IpAddr> {
        if let Some(address) = id.strip_prefix("external:") {
            return address.parse().into_iter().collect();
        }
        let pod = |e: &&Entity| e.kind == EntityKind::Container && !e.pod.is_empty();
        let Some(entity) = self.entities.get(id).filter(pod) else { return Vec::new() };
        patient(|| self.names.pod(&entity.namespace, &entity.pod)).unwrap_or_default()
    }
}

fn told(trace: &Trace, worst: Verdict, seconds: f64) -> Told {
    let end = worst.path.zip(worst.hop).map(|(path, hop)| &trace.paths[path].hops[hop].hop.step);
    let reason = match end {
        Some(Step::Dropped(drop)) if worst.outcome == Outcome::Dropped => drop.reason.clone(),
        _ => taproot_model::Name::default(),
    };
    let account = &trace.account;
    Told {
        fate: match worst.outcome {
            Outcome::Nothing => Fate::Nothing,
            Outcome::Passed => Fate::Passed,
            Outcome::Hole => Fate::Hole,
            Outcome::Unanswered => Fate::Unanswered,
            Outcome::NoRoute => Fate::NoRoute,
            Outcome::Dropped => Fate::Dropped,
        },
        headline: worst.headline,
        story: worst.story,
        reason,
        blame: worst.blame,
        packets: worst.packets as u64,
        followed: trace.paths.len() as u64,
        lost: account.ring_full + account.over_budget,
        seconds,
    }
}
