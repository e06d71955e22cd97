//! WebSocket (RFC 6455): messages are counted, never read.
//!
//! A connection gets here by an HTTP/1 upgrade; a frame's header alone says too
//! little to be recognised among other bytes. Each message is a call that wants no
//! answer, named by its kind; fragments of one are one.

mod frame;

pub use frame::Part;

use crate::exchange::{Call, Outcome, Timed, Wire};
use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct WebSocket {
    framers: [Framer; 2],
}

impl Protocol for WebSocket {
    type Message = Timed<Part>;
    type Record = Call;

    /// Never: only the upgrade tells.
    fn recognise(_: &[u8]) -> Recognition {
        Recognition::No
    }

    fn resumes(&self, side: Side, bytes: &[u8]) -> Recognition {
        frame::resumes(side, bytes)
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Timed<Part>> {
        self.framers[side as usize].step(side, view)
    }

    fn pair(&mut self, side: Side, event: Event<Timed<Part>>, records: &mut Vec<Call>) {
        match event {
            Event::Message(timed) => records.extend(message(side, timed)),
            Event::Lost { .. } => self.framers[side as usize] = Framer::default(),
            Event::Closed { .. } => {}
        }
    }
}

/// A close for other reasons than that all is done is a failure (section 7.4.1).
fn message(side: Side, timed: Timed<Part>) -> Option<Call> {
    let Timed { message, start, end, size } = timed;
    let Part::Message { kind, code } = message else { return None };
    let mut call = Call::new(Wire::WebSocket, kind, start, size).one_way(side);
    call.times.end = Some(end);
    if let Some(code) = code {
        let error = !matches!(code, 1000 | 1001);
        call.outcome = Outcome::Answered { error, status: Some(code.to_string().into()) };
    }
    Some(call)
}
