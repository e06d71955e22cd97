//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112) as a tap sees it.
//!
//! Heads are read, bodies are stepped over (they need not have been copied), and
//! what both ends accepted is counted even where it bends the rules. What is kept
//! of a head is in [`Request`] and [`Response`]; nothing else leaves this module.

mod call;
mod frame;
mod head;
mod pair;
mod types;

pub use types::{
    Answer, Exchange, Framing, Method, Part, Record, Request, Response, Times, Upgrade,
};

use crate::protocol::{Event, Protocol, Recognition, Side, Step};
use crate::stream::View;
use frame::Framer;
use pair::{Pairing, Turn};

/// The state of one HTTP/1 connection.
#[derive(Debug)]
pub struct Http1 {
    framers: [Framer; 2],
    pairing: Pairing,
    /// Sides whose next bytes belong to a tunnel.
    tunnel: [bool; 2],
    left: bool,
    user_agents: bool,
}

impl Default for Http1 {
    fn default() -> Self {
        Self {
            framers: [Framer::new(), Framer::new()],
            pairing: Pairing::new(),
            tunnel: [false; 2],
            left: false,
            user_agents: false,
        }
    }
}

impl Http1 {
    /// The same, but `User-Agent` is kept.
    pub fn keeping_user_agents() -> Self {
        Self { user_agents: true, ..Self::default() }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Stay => {}
            Turn::Tunnel => self.tunnel = [true; 2],
            Turn::Leave => self.left = true,
        }
    }
}

impl Protocol for Http1 {
    type Message = Part;
    type Record = Record;

    fn recognise(bytes: &[u8]) -> Recognition {
        head::recognise(bytes)
    }

    fn frame(&mut self, side: Side, view: &View<'_>) -> Step<Part> {
        let framer = &mut self.framers[side as usize];
        if self.left {
            return Step::Leave;
        }
        if !framer.is_inside() {
            if std::mem::take(&mut self.tunnel[side as usize]) {
                return Step::Search;
            }
            if side == Side::Client && self.pairing.is_gated() {
                return if view.bytes.is_empty() { Step::Need } else { Step::Wait };
            }
        }
        framer.step(side, self.pairing.asked(), self.user_agents, view)
    }

    fn pair(&mut self, side: Side, event: Event<Part>, records: &mut Vec<Record>) {
        match event {
            Event::Message(part) => {
                let turn = self.pairing.message(side, part, records);
                self.turn(turn);
            }
            Event::Lost { loss, time } => {
                self.framers[side as usize].reset();
                self.pairing.lost(side, loss, time, records);
            }
            Event::Closed { .. } => {
                self.framers[side as usize].reset();
                self.pairing.closed(side, records);
            }
        }
    }
}
