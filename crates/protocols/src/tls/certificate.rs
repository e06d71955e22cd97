//! The end of a certificate's validity (RFC 5280, section 4.1), and nothing else of it.

use crate::exchange::read::Reader;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// One value of DER: its tag and its content.
fn value<'a>(reader: &mut Reader<'a>) -> Option<(u8, Reader<'a>)> {
    let tag = reader.u8()?;
    let length = match reader.u8()? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(reader.u8()?),
        0x82 => usize::from(reader.u16()?),
        _ => return None, // longer than any certificate
    };
    Some((tag, Reader(reader.take(length)?)))
}

fn sequence<'a>(reader: &mut Reader<'a>) -> Option<Reader<'a>> {
    value(reader).filter(|(tag, _)| *tag == SEQUENCE).map(|(_, content)| content)
}

/// When the first certificate of a `Certificate` message (up to TLS 1.2) ends to be
/// valid, as `2027-01-31T12:00:00Z`.
pub(super) fn not_after(message: &[u8]) -> Option<String> {
    let mut list = Reader(message);
    list.take(6)?; // the list's length, the certificate's
    let mut certificate = sequence(&mut list)?;
    let mut signed = sequence(&mut certificate)?;
    let (tag, _) = value(&mut signed)?;
    if tag == 0xa0 {
        value(&mut signed)?; // that was the version; this is the serial number
    }
    sequence(&mut signed)?; // signature algorithm
    sequence(&mut signed)?; // issuer
    let mut validity = sequence(&mut signed)?;
    value(&mut validity)?;
    let (tag, time) = value(&mut validity)?;
    text(tag, time.0)
}

/// Two digits are a year from 1950 to 2049.
fn text(tag: u8, time: &[u8]) -> Option<String> {
    let (year, rest) = match tag {
        UTC_TIME => time.split_at_checked(2)?,
        GENERALIZED_TIME => time.split_at_checked(4)?,
        _ => return None,
    };
    let [rest @ .., b'Z'] = rest else { return None };
    if rest.len() != 10 || !year.iter().chain(rest).all(u8::is_ascii_digit) {
        return None;
    }
    let century = match (tag, year[0]) {
        (UTC_TIME, b'0'..=b'4') => "20",
        (UTC_TIME, _) => "19",
        _ => "",
    };
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| part(&rest[at..at + 2]));
    Some(format!("{century}{}-{month}-{day}T{hour}:{minute}:{second}Z", part(year)))
}
