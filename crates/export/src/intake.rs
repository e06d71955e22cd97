//! Each kind of signal to the series it adds to.

use crate::call::{Call, observer, peer, role, transport};
use crate::{Attributes, Data, Owner, Registry, Value};
use std::sync::Arc;
use taproot_model::schema::attribute_of_key;
use taproot_model::{
    Change, Edge, EntityId, Flow, Gibberish, Histogram, Lifecycle, LifecycleKind, LogPattern,
    LogSeverity, Loss, Metric, MetricKind, Protocol, Requests, Role, Signal, SyscallFailure,
    Timestamp,
};

pub(crate) fn add(to: &mut Registry, signal: &Signal) {
    match signal {
        Signal::Entity(entity) => to.learn(&entity.id, Owner::of(entity)),
        Signal::Flow(flow) => add_flow(to, flow),
        Signal::Requests(requests) => add_requests(to, requests),
        Signal::Metric(metric) => add_metric(to, metric),
        Signal::Lifecycle(event) => add_lifecycle(to, event),
        Signal::SyscallFailure(failure) => add_failure(to, failure),
        Signal::LogPattern(pattern) => add_lines(to, pattern),
        Signal::Gibberish(gibberish) => add_gibberish(to, gibberish),
        Signal::Change(change) => add_change(to, change),
        Signal::Loss(loss) => add_loss(to, loss),
        // One request in full becomes a span; a cluster's event is no figure.
        Signal::Exemplar(_) | Signal::ClusterEvent(_) => {}
    }
}

/// Adds values of one owner and time.
struct Sheet<'a> {
    to: &'a mut Registry,
    id: EntityId,
    owner: Arc<Owner>,
    at: Timestamp,
}

impl<'a> Sheet<'a> {
    fn of(to: &'a mut Registry, id: &EntityId, at: Timestamp) -> Self {
        let owner = to.owner(id, || Owner::unnamed(id));
        Self { to, id: id.clone(), owner, at }
    }

    fn of_edge(to: &'a mut Registry, edge: &Edge, at: Timestamp) -> Self {
        let end = observer(edge);
        let owner = to.owner(&end.entity, || Owner::of_end(end));
        Self { to, id: end.entity.clone(), owner, at }
    }

    fn put(&mut self, name: &str, attributes: Attributes, data: Data) {
        let owner = (self.id.clone(), Arc::clone(&self.owner));
        self.to.put(name, owner, attributes, self.at, data);
    }

    fn count(&mut self, name: &str, attributes: Attributes, n: u64) {
        if n > 0 {
            self.put(name, attributes, Data::Sum(n as f64));
        }
    }

    fn durations(&mut self, name: &str, attributes: Attributes, histogram: &Histogram) {
        if !histogram.is_empty() {
            self.put(name, attributes, Data::Histogram(histogram.clone()));
        }
    }
}

fn add_requests(to: &mut Registry, all: &Requests) {
    // A certificate is told as an answer of its own; it took no time.
    if all.protocol == Protocol::Tls && &*all.method == "certificate" {
        return add_certificate(to, all);
    }
    let call = Call::from(all);
    let mut sheet = Sheet::of_edge(to, &all.edge, all.at);
    let about = |first: Option<(&'static str, Value)>| {
        let mut out: Attributes = first.into_iter().collect();
        out.push(("network.protocol.name", all.protocol.name().into()));
        out.push(("taproot.role", role(&all.edge).into()));
        peer(&all.edge, &mut out);
        out
    };
    for (direction, bytes) in [("request", all.request_bytes), ("response", all.response_bytes)] {
        let direction = ("taproot.request.direction", direction.into());
        sheet.count("taproot.request.io", about(Some(direction)), bytes);
    }
    let error = call.error_type().map(|error| ("error.type", error.into()));
    sheet.count("taproot.requests", about(error), all.count);
    // Whose duration it is has to be known: no side is guessed.
    if all.edge.role != Role::Unknown {
        let name = all.protocol.call_names(all.edge.role).duration;
        sheet.durations(name, call.attributes(), &all.latency);
    }
}

/// When a certificate that was shown ends to be valid.
fn add_certificate(to: &mut Registry, shown: &Requests) {
    let Some(end) = seconds_since_1970(&shown.code) else { return };
    let mut attributes: Attributes = Vec::new();
    if !shown.route.is_empty() {
        attributes.push(("taproot.tls.server_name", shown.route.clone().into()));
    }
    attributes.push(("taproot.role", role(&shown.edge).into()));
    peer(&shown.edge, &mut attributes);
    let mut sheet = Sheet::of_edge(to, &shown.edge, shown.at);
    sheet.put("taproot.tls.certificate.not_after", attributes, Data::Level(end as f64));
}

/// Reads `2027-01-31T12:00:00Z`. Days are counted from March on, so that the leap day
/// is a year's last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn seconds_since_1970(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[i64; 3]> {
        let all: Vec<i64> = text.split(by).map_while(|part| part.parse().ok()).collect();
        all.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(date, '-')?, numbers(time, ':')?);
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn add_flow(to: &mut Registry, flow: &Flow) {
    let mut sheet = Sheet::of_edge(to, &flow.edge, flow.at);
    let about = |first: Option<(&'static str, Value)>| {
        let mut out: Attributes = first.into_iter().collect();
        out.push(("taproot.role", role(&flow.edge).into()));
        out.push(("network.transport", transport(flow.transport).into()));
        peer(&flow.edge, &mut out);
        out
    };
    let by = |key: &'static str, value: &str| about(Some((key, value.into())));
    for (direction, bytes, packets) in
        [("transmit", flow.tx_bytes, flow.tx_packets), ("receive", flow.rx_bytes, flow.rx_packets)]
    {
        let attributes = by("network.io.direction", direction);
        sheet.count("taproot.network.flow.bytes", attributes.clone(), bytes);
        sheet.count("taproot.network.flow.packets", attributes, packets);
    }
    for (direction, n) in [("sent", flow.resets_sent), ("received", flow.resets_received)] {
        sheet.count("taproot.tcp.resets", by("taproot.reset.direction", direction), n);
    }
    for (errno, n) in &flow.failed_connects {
        sheet.count("taproot.tcp.failed_connections", by("error.type", errno), *n);
    }
    for (reason, n) in &flow.drops {
        sheet.count("taproot.network.drops", by("taproot.drop.reason", reason), *n);
    }
    sheet.count("taproot.tcp.connections", about(None), flow.connects);
    sheet.count("taproot.tcp.retransmits", about(None), flow.retransmits);
    sheet.durations("taproot.tcp.rtt", about(None), &flow.rtt);
    sheet.durations("taproot.tcp.connect.duration", about(None), &flow.connect_time);
}

fn add_metric(to: &mut Registry, metric: &Metric) {
    if !metric.value.is_finite() {
        to.lost("not_finite");
        return;
    }
    let mut attributes = Attributes::new();
    if let Some((key, value)) = metric.attribute.split_once('=') {
        let Some(key) = attribute_of_key(key) else {
            to.lost("unknown_attribute");
            return;
        };
        attributes.push((key, value.into()));
    }
    let data = match metric.kind {
        MetricKind::Delta => Data::Sum(metric.value),
        MetricKind::Gauge => Data::Level(metric.value),
    };
    Sheet::of(to, &metric.entity, metric.at).put(&metric.name, attributes, data);
}

fn add_lifecycle(to: &mut Registry, event: &Lifecycle) {
    let mut sheet = Sheet::of(to, &event.entity, event.at);
    match (event.kind, event.exit) {
        (LifecycleKind::Exit, Some(exit)) => {
            let code = ("process.exit.code", u16::from(exit.code).into());
            let signal = ("taproot.exit.signal", u16::from(exit.signal).into());
            sheet.count("taproot.process.exits", vec![code, signal], 1);
        }
        (LifecycleKind::Signal, _) => {
            let signal = ("taproot.exit.signal", u16::from(event.signal).into());
            sheet.count("taproot.process.killed", vec![signal], 1);
        }
        // Kills for want of memory are counted by the control group as well.
        (LifecycleKind::Exec | LifecycleKind::Exit | LifecycleKind::OomKill, _) => {}
    }
}

fn add_failure(to: &mut Registry, failure: &SyscallFailure) {
    let attributes = vec![
        ("taproot.syscall", failure.syscall.clone().into()),
        ("error.type", failure.errno.clone().into()),
    ];
    let mut sheet = Sheet::of(to, &failure.entity, failure.at);
    sheet.count("taproot.syscall.errors", attributes, failure.count);
}

fn add_lines(to: &mut Registry, pattern: &LogPattern) {
    let severity = match pattern.severity {
        LogSeverity::Unknown => "unknown",
        LogSeverity::Debug => "debug",
        LogSeverity::Info => "info",
        LogSeverity::Warn => "warn",
        LogSeverity::Error => "error",
        LogSeverity::Fatal => "fatal",
    };
    let attributes = vec![("taproot.log.severity", severity.into())];
    let mut sheet = Sheet::of(to, &pattern.entity, pattern.at);
    sheet.count("taproot.log.lines", attributes, pattern.count);
}

fn add_gibberish(to: &mut Registry, gibberish: &Gibberish) {
    let attributes = vec![("taproot.log.damage", gibberish.reason.clone().into())];
    let mut sheet = Sheet::of(to, &gibberish.entity, gibberish.at);
    sheet.count("taproot.log.invalid", attributes, gibberish.lines);
}

fn add_change(to: &mut Registry, change: &Change) {
    let attributes = vec![("taproot.change.kind", change.kind.name().into())];
    Sheet::of(to, &change.entity, change.at).count("taproot.changes", attributes, 1);
}

fn add_loss(to: &mut Registry, loss: &Loss) {
    let attributes = vec![
        ("taproot.collector", loss.collector.clone().into()),
        ("taproot.loss.reason", loss.reason.clone().into()),
    ];
    let mut sheet = Sheet::of(to, &loss.entity, loss.at);
    sheet.count("taproot.capture.lost", attributes, loss.count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_validity_is_a_number_of_seconds() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2024-02-29T12:30:05Z", Some(1_709_209_805)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2027-01-31", None),
            ("", None),
            ("2027-01-T00:00:00Z", None),
        ] {
            assert_eq!(seconds_since_1970(text), seconds, "{text}");
        }
    }
}
