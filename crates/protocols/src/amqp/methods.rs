//! The methods of AMQP 0-9-1 (and `RabbitMQ`'s `confirm`), and where their targets
//! stand.

use std::sync::Arc;

use crate::exchange::read::Reader;
use crate::keys;

/// What a method is to pairing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It awaits the method with that number, or the next.
    Ask(u16),
    /// It answers.
    Answer,
    /// It stands alone.
    Tell,
}

/// What is known of one method.
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) role: Role,
}

/// A method by class and number; `None` for one that is not known.
pub(super) fn find(class: u16, method: u16) -> Option<Method> {
    use Role::{Answer, Ask, Tell};
    let (name, role) = match (class, method) {
        (10, 10) => ("connection.start", Ask(11)),
        (10, 20) => ("connection.secure", Ask(21)),
        (10, 30) => ("connection.tune", Ask(31)),
        (10, 40) => ("connection.open", Ask(41)),
        (10, 50) => ("connection.close", Ask(51)),
        (10, 11 | 21 | 31 | 41 | 51 | 71) => ("connection", Answer),
        (10, 60 | 61) => ("connection.blocked", Tell),
        (10, 70) => ("connection.update_secret", Ask(71)),
        (20, 10) => ("channel.open", Ask(11)),
        (20, 20) => ("channel.flow", Ask(21)),
        (20, 40) => ("channel.close", Ask(41)),
        (20, 11 | 21 | 41) => ("channel", Answer),
        (40, 10) => ("exchange.declare", Ask(11)),
        (40, 20) => ("exchange.delete", Ask(21)),
        (40, 30) => ("exchange.bind", Ask(31)),
        (40, 40) => ("exchange.unbind", Ask(51)),
        (40, 11 | 21 | 31 | 51) => ("exchange", Answer),
        (50, 10) => ("queue.declare", Ask(11)),
        (50, 20) => ("queue.bind", Ask(21)),
        (50, 30) => ("queue.purge", Ask(31)),
        (50, 40) => ("queue.delete", Ask(41)),
        (50, 50) => ("queue.unbind", Ask(51)),
        (50, 11 | 21 | 31 | 41 | 51) => ("queue", Answer),
        (60, 10) => ("basic.qos", Ask(11)),
        (60, 20) => ("basic.consume", Ask(21)),
        (60, 30) => ("basic.cancel", Ask(31)),
        (60, 40) => ("basic.publish", Tell),
        (60, 50) => ("basic.return", Tell),
        (60, 60) => ("basic.deliver", Tell),
        (60, 70) => ("basic.get", Ask(71)),
        (60, 110) => ("basic.recover", Ask(111)),
        (60, 11 | 21 | 31 | 71 | 72 | 111) => ("basic", Answer),
        (60, 80) => ("basic.ack", Tell),
        (60, 90) => ("basic.reject", Tell),
        (60, 100) => ("basic.recover_async", Tell),
        (60, 120) => ("basic.nack", Tell),
        (85, 10) => ("confirm.select", Ask(11)),
        (90, 10) => ("tx.select", Ask(11)),
        (90, 20) => ("tx.commit", Ask(21)),
        (90, 30) => ("tx.rollback", Ask(31)),
        (85, 11) | (90, 11 | 21 | 31) => ("tx", Answer),
        _ => return None,
    };
    Some(Method { name, role })
}

/// A string behind one byte of length.
fn short<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = usize::from(reader.u8()?);
    reader.take(length)
}

/// The queue or exchange that a method names. A publication to the default
/// exchange is named by its routing key, which is then a queue.
pub(super) fn target(class: u16, method: u16, arguments: &[u8]) -> Option<Arc<str>> {
    let mut reader = Reader(arguments);
    let found = match (class, method) {
        (40, 10 | 20 | 30 | 40) | (50, 10 | 20 | 30 | 40 | 50) | (60, 20 | 70) => {
            reader.u16()?;
            short(&mut reader)?
        }
        (60, 40) => {
            reader.u16()?;
            exchange_or_key(&mut reader)?
        }
        (60, 50) => {
            reader.u16()?;
            short(&mut reader)?;
            exchange_or_key(&mut reader)?
        }
        (60, 60) => {
            short(&mut reader)?;
            reader.take(9)?;
            exchange_or_key(&mut reader)?
        }
        _ => return None,
    };
    (!found.is_empty()).then(|| keys::topic(found))
}

fn exchange_or_key<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let exchange = short(reader)?;
    if exchange.is_empty() { short(reader) } else { Some(exchange) }
}

/// Whether the sender of a method waives the answer (`no-wait`).
pub(super) fn is_silent(class: u16, method: u16, arguments: &[u8]) -> bool {
    let mut reader = Reader(arguments);
    let mut flag = |shorts: usize, bit: u8| {
        reader.u16()?;
        for _ in 0..shorts {
            short(&mut reader)?;
        }
        Some(reader.u8()? & 1 << bit != 0)
    };
    let found = match (class, method) {
        (40, 10) => flag(2, 4),
        (40, 20) => flag(1, 1),
        (40, 30 | 40) | (50, 20) => flag(3, 0),
        (50, 10) => flag(1, 4),
        (50, 30) => flag(1, 0),
        (50, 40) => flag(1, 2),
        (60, 20) => flag(2, 3),
        (85, 10) => arguments.first().map(|bits| bits & 1 != 0),
        _ => None,
    };
    found.unwrap_or(false)
}
