//! Follows a handshake from its hello to its end.

use super::certificate;
use super::hello::{self, Hello};
use super::{CLIENT_HELLO, Part, SERVER_HELLO};
use crate::exchange::{Call, Outcome, Text, Timed, Wire};
use crate::protocol::Side;

const CERTIFICATE: u8 = 11;
const TLS_1_3: u16 = 0x0304;
/// Level of an alert that ends the connection.
const FATAL: u8 = 2;
/// Most bytes of handshake messages kept of one side; chains of certificates are the
/// longest of them.
const MOST: usize = 64 << 10;
/// An encrypted alert of TLS 1.3: two bytes, its type, the tag.
const ENCRYPTED_ALERT: u64 = 2 + 1 + 16;

#[derive(Debug, Default)]
pub(super) struct Pairing {
    call: Option<Call>,
    /// Handshake messages that are not whole yet, by side.
    partial: [Vec<u8>; 2],
    /// Sides whose handshake messages are encrypted by now, up to TLS 1.2.
    encrypted: [bool; 2],
    version: Option<u16>,
    done: bool,
}

impl Pairing {
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn record(&mut self, side: Side, timed: &Timed<Part>, records: &mut Vec<Call>) {
        if self.done {
            return;
        }
        match &timed.message {
            Part::Handshake(_) if self.encrypted[side as usize] => self.add_answer(side, timed),
            Part::Handshake(bytes) => self.fragments(side, bytes, timed, records),
            Part::Cipher => {
                self.encrypted[side as usize] = true;
                // Of TLS 1.3 it means nothing: it is there for old devices between.
                let old = self.version.is_some_and(|version| version < TLS_1_3);
                if old && self.encrypted == [true; 2] {
                    self.succeed(timed, records);
                }
            }
            Part::Alert(Some((FATAL, description))) => {
                self.finish(timed.end, &Outcome::failed(alert(*description)), records);
            }
            Part::Data(length) if side == Side::Client && self.version.is_some() => {
                if *length == ENCRYPTED_ALERT {
                    self.finish(timed.end, &Outcome::failed("_OTHER"), records);
                } else {
                    self.succeed(timed, records);
                }
            }
            Part::Data(_) => self.add_answer(side, timed),
            Part::Alert(_) | Part::Other => {}
        }
    }

    fn fragments(
        &mut self,
        side: Side,
        bytes: &[u8],
        timed: &Timed<Part>,
        records: &mut Vec<Call>,
    ) {
        let mut all = std::mem::take(&mut self.partial[side as usize]);
        all.extend_from_slice(bytes);
        let mut rest = &all[..];
        while let Some((header, body)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            let Some((message, after)) = body.split_at_checked(length) else { break };
            self.message(side, header[0], message, timed, records);
            rest = after;
        }
        if rest.len() <= MOST {
            self.partial[side as usize] = rest.to_vec();
        }
        self.add_answer(side, timed);
    }

    fn message(
        &mut self,
        side: Side,
        kind: u8,
        body: &[u8],
        timed: &Timed<Part>,
        records: &mut Vec<Call>,
    ) {
        match (kind, side) {
            (CLIENT_HELLO, Side::Client) if self.call.is_none() => {
                let Some(hello) = Hello::read(body, true) else { return };
                let call = Call::new(Wire::Tls, "handshake", timed.start, timed.size);
                self.call = Some(Call { namespace: hello.alpn, ..call.on(hello.server_name) });
            }
            (SERVER_HELLO, Side::Server) => {
                let Some(hello) = Hello::read(body, false).filter(|hello| !hello.retry) else {
                    return;
                };
                self.version = Some(hello.version);
                if let (Some(call), Some(alpn)) = (&mut self.call, hello.alpn) {
                    call.namespace = Some(alpn);
                }
            }
            (CERTIFICATE, Side::Server) => {
                let (Some(call), Some(end)) = (&self.call, certificate::not_after(body)) else {
                    return;
                };
                let mut shown = Call::new(Wire::Tls, "certificate", timed.start, body.len() as u64)
                    .on(call.target.clone())
                    .one_way(side);
                shown.outcome = Outcome::Answered { error: false, status: Some(end.into()) };
                records.push(shown);
            }
            _ => {}
        }
    }

    fn add_answer(&mut self, side: Side, timed: &Timed<Part>) {
        if side == Side::Server
            && let Some(call) = &mut self.call
        {
            call.add_answer(timed.start, timed.end, timed.size);
        }
    }

    fn succeed(&mut self, timed: &Timed<Part>, records: &mut Vec<Call>) {
        let status = self.version.map(hello::version);
        self.finish(timed.end, &Outcome::Answered { error: false, status }, records);
    }

    fn finish(&mut self, end: u64, outcome: &Outcome, records: &mut Vec<Call>) {
        if let Some(mut call) = self.call.take() {
            call.outcome = outcome.clone();
            call.times.end = Some(end);
            records.push(call);
        }
        self.partial = Default::default();
        self.done = true;
    }

    /// The rest of the handshake may be hidden.
    pub(super) fn lost(&mut self, records: &mut Vec<Call>) {
        if let Some(mut call) = self.call.take() {
            call.outcome = Outcome::Unseen;
            records.push(call);
        }
        *self = Self { done: self.done, ..Self::default() };
    }

    pub(super) fn closed(&mut self, records: &mut Vec<Call>) {
        records.extend(self.call.take());
    }
}

/// Names of RFC 8446, section 6.
fn alert(description: u8) -> Text {
    match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "_OTHER",
    }
    .into()
}
