//! Sockets: none there, or full.

use taproot_model::{Blame, Category};

use crate::incident::{Incident, protocol_name};
use crate::state::Waiting;

/// Nobody waits for the packet.
pub(crate) fn nobody(incident: &Incident<'_>) -> Blame {
    let to = incident.tuple.destination;
    let protocol = protocol_name(incident.tuple.protocol);
    let elsewhere = incident
        .state
        .sockets
        .iter()
        .find(|socket| socket.tcp == incident.tcp() && socket.at.port() == to.port());
    let (hint, advice) = match elsewhere {
        Some(socket) => (
            format!(" A program waits at {} only.", socket.at),
            format!("Make it listen on {} (or 0.0.0.0) instead of {}.", to.ip(), socket.at.ip()),
        ),
        None => (
            String::new(),
            format!(
                "Start the server, or correct the port; see what listens with ss -ln ( sport = :{} )",
                to.port()
            ),
        ),
    };
    let certain = incident.state.sockets_at(incident.tcp(), to).is_empty();
    Incident::blame(
        Category::Socket,
        format!("no {protocol} socket at {to}"),
        format!("The packet arrived, but no program waits for {protocol} at {to}.{hint}"),
        advice,
        certain,
    )
}

/// The packet belongs to a connection that this host does not have.
pub(crate) fn no_connection(incident: &Incident<'_>) -> Blame {
    let (from, to) = (incident.tuple.source, incident.tuple.destination);
    Incident::blame(
        Category::Socket,
        format!("no TCP connection {to} with {from}"),
        format!(
            "The packet from {from} belongs to a connection that {to} does not have (any more)."
        ),
        "Look whether the program at the destination ended or was restarted, or whether the \
         packet came a way past its address translation."
            .to_owned(),
        true,
    )
}

/// The listener's line of connections to accept is full.
pub(crate) fn line_full(incident: &Incident<'_>) -> Option<Blame> {
    let full = |socket: &&Waiting| socket.tcp && socket.waiting > socket.limit;
    let found = incident.state.sockets_at(true, incident.tuple.destination);
    let socket = found.into_iter().find(full)?;
    Some(Incident::blame(
        Category::Socket,
        format!("listener {} ({} waiting, limit {})", socket.at, socket.waiting, socket.limit),
        format!(
            "The server at {} does not accept connections as fast as they come: {} wait and its \
             limit is {}.",
            socket.at, socket.waiting, socket.limit
        ),
        "Find out what the server is busy with; or raise its listen backlog and \
         sysctl -w net.core.somaxconn=N."
            .to_owned(),
        true,
    ))
}

/// The socket's buffer of received data is full.
pub(crate) fn buffer_full(incident: &Incident<'_>) -> Option<Blame> {
    let found = incident.state.sockets_at(incident.tcp(), incident.tuple.destination);
    let socket = found.into_iter().max_by_key(|socket| (socket.connected, socket.drops))?;
    Some(Incident::blame(
        Category::Socket,
        format!(
            "receive buffer of {} {} ({} of {} bytes)",
            protocol_name(incident.tuple.protocol),
            socket.at,
            socket.waiting,
            socket.limit
        ),
        format!(
            "The program at {} does not read as fast as packets come: {} have been dropped.",
            socket.at, socket.drops
        ),
        "Make the program read faster; or give it a larger buffer (SO_RCVBUF, up to \
         net.core.rmem_max)."
            .to_owned(),
        true,
    ))
}
