//! What is told of a request, as attributes: of its series and of its span.

use crate::owner::split;
use crate::{Attributes, Value};
use std::net::SocketAddr;
use taproot_model::{Edge, Endpoint, Exemplar, Name, Protocol, Requests, Role, Transport};

/// What a request and the sum of many have in common.
pub(crate) struct Call<'a> {
    pub(crate) edge: &'a Edge,
    pub(crate) protocol: Protocol,
    pub(crate) method: &'a Name,
    pub(crate) route: &'a Name,
    pub(crate) status: u16,
    pub(crate) code: &'a Name,
    pub(crate) error: bool,
}

impl<'a> From<&'a Requests> for Call<'a> {
    fn from(all: &'a Requests) -> Self {
        let Requests { edge, protocol, method, route, status, code, error, .. } = all;
        Self { edge, protocol: *protocol, method, route, status: *status, code, error: *error }
    }
}

impl<'a> From<&'a Exemplar> for Call<'a> {
    fn from(one: &'a Exemplar) -> Self {
        let Exemplar { edge, protocol, method, route, status, code, error, .. } = one;
        Self { edge, protocol: *protocol, method, route, status: *status, code, error: *error }
    }
}

/// The end that observed an edge.
pub(crate) fn observer(edge: &Edge) -> &Endpoint {
    if edge.role == Role::Server { &edge.server } else { &edge.client }
}

fn other(edge: &Edge) -> &Endpoint {
    if edge.role == Role::Server { &edge.client } else { &edge.server }
}

pub(crate) fn role(edge: &Edge) -> &'static str {
    match edge.role {
        Role::Client => "client",
        Role::Server => "server",
        Role::Unknown => "unknown",
    }
}

pub(crate) fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// Port and service of the other end. A stranger has an address and no service: as a
/// label, addresses of strangers would be without number.
pub(crate) fn peer(edge: &Edge, out: &mut Attributes) {
    out.push(("server.port", edge.server.addr.port().into()));
    let end = other(edge);
    if !end.entity.starts_with("external:") {
        let (namespace, name) = split(&end.service);
        out.push(("service.peer.name", name.into()));
        if !namespace.is_empty() {
            out.push(("service.peer.namespace", namespace.into()));
        }
    }
}

/// The address a client dialled.
fn dialled(edge: &Edge) -> SocketAddr {
    edge.via.unwrap_or(edge.server.addr)
}

impl Call<'_> {
    fn is_web(&self) -> bool {
        self.protocol.has_http_status()
    }

    /// The status where there was one: a number of HTTP's, a word or number of others'.
    fn status(&self) -> Option<Value> {
        if self.is_web() {
            return (self.status != 0).then(|| self.status.into());
        }
        match (&**self.code, self.status) {
            ("" | "unseen" | "_OTHER", 0) => None,
            ("", number) => Some(number.to_string().as_str().into()),
            (word, _) => Some(word.into()),
        }
    }

    /// `error.type`; `None` where nothing failed.
    pub(crate) fn error_type(&self) -> Option<Name> {
        self.error.then(|| match (&**self.code, self.status) {
            ("", 0) => "unanswered".into(),
            ("", number) => number.to_string().into(),
            (word, _) => word.into(),
        })
    }

    /// What tells the series of one histogram of durations apart, in a fixed order.
    pub(crate) fn attributes(&self) -> Attributes {
        let names = self.protocol.call_names(self.edge.role);
        let mut out = vec![(names.system.0, names.system.1.into())];
        out.push((names.operation, self.method.clone().into()));
        if !self.route.is_empty() {
            out.push((names.target, self.route.clone().into()));
        }
        out.extend(self.status().map(|status| (names.status, status)));
        out.extend(self.error_type().map(|error| ("error.type", error.into())));
        if self.protocol == Protocol::Http2 {
            out.push(("network.protocol.version", "2".into()));
        }
        let has_address = self.edge.role != Role::Server;
        if has_address {
            out.push(("server.address", dialled(self.edge).ip().to_string().as_str().into()));
        }
        peer(self.edge, &mut out);
        out
    }
}
