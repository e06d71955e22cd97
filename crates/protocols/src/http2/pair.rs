//! Pairs requests with responses by stream.

use super::frame::{Head, Part};
use crate::exchange::table::Table;
use crate::exchange::{Call, Outcome, Text, Timed, Wire};
use crate::protocol::Side;

/// What is remembered of a stream.
#[derive(Debug, Default)]
struct Stream {
    status: Option<u16>,
    grpc_status: Option<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Pairing {
    streams: Table<u32, Stream>,
    /// The newest stream of the client; an older one is not opened again.
    newest: u32,
    /// Whether streams may have been opened unseen.
    blind: bool,
}

impl Pairing {
    pub(super) fn upgraded(request: Call) -> Self {
        let mut pairing = Self { newest: 1, ..Self::default() };
        pairing.streams.ask(1, request, Stream::default(), &mut Vec::new());
        pairing
    }

    pub(super) fn message(&mut self, side: Side, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        match (message, side) {
            (Part::Headers { stream, head, .. }, Side::Client) => {
                self.request(stream, head, (start, size), records);
            }
            (Part::Data { stream, .. }, Side::Client) => {
                if let Some((call, _)) = self.streams.get(stream, start) {
                    call.request_size = call.request_size.saturating_add(size);
                }
            }
            (Part::Headers { stream, head, ends }, Side::Server) => {
                self.response(stream, &head, ends, (start, end, size), records);
            }
            (Part::Data { stream, ends }, Side::Server) => {
                if let Some((call, _)) = self.streams.get(stream, start) {
                    call.add_answer(start, end, size);
                    if ends {
                        self.finish(stream, start, records);
                    }
                }
            }
            (Part::Reset { stream, code }, _) => self.reset(stream, code, (start, end), records),
            (Part::Other, _) => {}
        }
    }

    fn request(
        &mut self,
        stream: u32,
        head: Head,
        (start, size): (u64, u64),
        records: &mut Vec<Call>,
    ) {
        let named = head.method.is_some() || head.path.is_some();
        if stream.is_multiple_of(2) || stream <= self.newest || (self.blind && !named) {
            // Trailers.
            if let Some((call, _)) = self.streams.get(stream, start) {
                call.request_size = call.request_size.saturating_add(size);
            }
            return;
        }
        self.newest = stream;
        let call = if head.grpc {
            let method = head.path.as_deref().and_then(|path| path.strip_prefix('/'));
            Call::new(Wire::Grpc, method.map_or(OTHER, |path| path.to_owned().into()), start, size)
        } else {
            let method = head.method.as_deref().map_or(OTHER, method);
            Call::new(Wire::Http2, method, start, size).on(head.path)
        };
        let call = Call { namespace: head.authority, traceparent: head.traceparent, ..call };
        self.streams.ask(stream, call, Stream::default(), records);
    }

    fn response(
        &mut self,
        stream: u32,
        head: &Head,
        ends: bool,
        (start, end, size): (u64, u64, u64),
        records: &mut Vec<Call>,
    ) {
        let Some((call, state)) = self.streams.get(stream, start) else { return };
        call.add_answer(start, end, size);
        if head.grpc {
            become_grpc(call);
        }
        state.status = head.status.or(state.status);
        state.grpc_status = head.grpc_status.or(state.grpc_status);
        if ends {
            self.finish(stream, start, records);
        }
    }

    fn finish(&mut self, stream: u32, time: u64, records: &mut Vec<Call>) {
        let Some((mut call, state)) = self.streams.take(stream, time) else { return };
        call.outcome = outcome(call.wire, &state);
        records.push(call);
    }

    /// A stream given up after its response, without an error, was answered.
    fn reset(&mut self, stream: u32, code: u32, (start, end): (u64, u64), records: &mut Vec<Call>) {
        let Some((mut call, state)) = self.streams.take(stream, start) else { return };
        call.add_answer(start, end, 0);
        call.outcome = match (state.status, code) {
            (Some(_), 0) => outcome(call.wire, &state),
            _ => Outcome::failed(reason(code)),
        };
        records.push(call);
    }

    pub(super) fn lost(&mut self) {
        self.streams.doubt();
        self.blind = true;
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.streams.closed(side, records);
    }
}

const OTHER: Text = Text::Borrowed("_OTHER");

/// A request whose content type was not seen shows itself by the answer.
fn become_grpc(call: &mut Call) {
    if call.wire == Wire::Grpc {
        return;
    }
    call.wire = Wire::Grpc;
    let path = call.target.take();
    let method = path.as_deref().and_then(|path| path.strip_prefix('/'));
    call.operation = method.map_or(OTHER, |path| path.to_owned().into());
}

fn method(method: &str) -> Text {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.iter().find(|known| **known == method).map_or(OTHER, |known| (*known).into())
}

/// An answer of 500 and above is an error, as for a server's spans.
fn outcome(wire: Wire, state: &Stream) -> Outcome {
    if wire == Wire::Grpc
        && let Some(code) = state.grpc_status
    {
        return Outcome::Answered { error: code != 0, status: Some(grpc_status(code)) };
    }
    let error = state.status.is_some_and(|status| status >= 500);
    Outcome::Answered { error, status: state.status.map(|status| status.to_string().into()) }
}

/// The names of gRPC's codes.
fn grpc_status(code: u8) -> Text {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::from(code)).map_or_else(|| code.to_string().into(), |name| (*name).into())
}

/// The names of the error codes (RFC 9113, section 7).
fn reason(code: u32) -> Text {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    NAMES.get(code as usize).map_or("_OTHER".into(), |name| (*name).into())
}
