//! Pairs methods with their answers, by channel.

use super::frame::Part;
use super::methods::Role;
use crate::exchange::table::Table;
use crate::exchange::{Call, Outcome, Timed, Wire};
use crate::protocol::Side;

/// Who asked (0 for the client), the channel, and class and method of the answer.
type Key = (u8, u16, u16, u16);

const CLOSE: [(u16, u16); 2] = [(10, 50), (20, 40)];
/// The code of a close without a failure.
const FINE: u16 = 200;

#[derive(Debug, Default)]
pub(super) struct Pairing {
    waiting: Table<Key>,
}

impl Pairing {
    pub(super) fn message(&mut self, side: Side, timed: Timed<Part>, records: &mut Vec<Call>) {
        let Timed { message, start, end, size } = timed;
        let Part::Method { channel, class, method, name, role, target, code } = message else {
            return;
        };
        if CLOSE.contains(&(class, method))
            && let Some(code) = code.filter(|code| *code != FINE)
        {
            self.fail(side, class, channel, code, (start, end), records);
        }
        match role {
            Role::Tell => {
                let call = Call::new(Wire::Amqp, name, start, size).on(target);
                records.push(call.one_way(side));
            }
            Role::Ask(answer) => {
                let call = Call::new(Wire::Amqp, name, start, size).on(target);
                let key = (side as u8, channel, class, answer);
                self.waiting.ask(key, Call { from: side, ..call }, (), records);
            }
            Role::Answer => {
                // `basic.get` is answered with one of two methods.
                let expected = if (class, method) == (60, 72) { 71 } else { method };
                let key = (side.peer() as u8, channel, class, expected);
                let Some((mut call, ())) = self.waiting.take(key, start) else { return };
                call.add_answer(start, end, size);
                let empty = (class, method) == (60, 72);
                let status = empty.then(|| "empty".into());
                call.outcome = Outcome::Answered { error: false, status };
                records.push(call);
            }
        }
    }

    /// What the peer asked on the channel (or on any) fails with that code.
    fn fail(
        &mut self,
        side: Side,
        class: u16,
        channel: u16,
        code: u16,
        (start, end): (u64, u64),
        records: &mut Vec<Call>,
    ) {
        let peer = side.peer() as u8;
        let hit = |key: &Key| key.0 == peer && (class == 10 || key.1 == channel);
        for mut call in self.waiting.take_all(hit) {
            // One whose answer may have been lost did not fail for certain.
            if call.outcome == Outcome::Unanswered {
                call.add_answer(start, end, 0);
                call.outcome = Outcome::failed(code.to_string());
            }
            records.push(call);
        }
    }

    /// A method is sent again on its channel only after its answer, so what waits
    /// may still be answered.
    pub(super) fn lost(&mut self) {
        self.waiting.doubt();
    }

    pub(super) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.waiting.closed(side, records);
    }
}
