//! An exchange as a call, for those who count it with other protocols.

use super::{Answer, Exchange};
use crate::exchange::{Call, Outcome, Wire};

impl From<Exchange> for Call {
    /// The method on the path, with the status code. 5xx is an error; whether 4xx is one
    /// depends on who asks.
    fn from(exchange: Exchange) -> Self {
        let Exchange { request, answer, times, .. } = exchange;
        let size = request.head_size.saturating_add(exchange.request_body);
        let mut call = Self::new(Wire::Http1, request.method.otel(), times.request_start, size);
        call.target = Some(request.path.into());
        call.namespace = request.host.map(Into::into);
        call.traceparent = request.traceparent.map(Into::into);
        call.times.answer = times.response_start;
        call.times.end = times.response_end;
        match answer {
            Answer::Response(response) => {
                let status = Some(response.status.to_string().into());
                call.outcome = Outcome::Answered { error: response.status >= 500, status };
                call.answer_size = response.head_size.saturating_add(exchange.response_body);
            }
            Answer::Unanswered => call.outcome = Outcome::Unanswered,
            Answer::Unseen => call.outcome = Outcome::Unseen,
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use crate::exchange::Call;
    use crate::http1::{Http1, Record};
    use crate::stream::Limits;
    use crate::{Connection, Piece, Side};

    #[test]
    fn an_exchange_tells_as_a_call() {
        let mut connection = Connection::from_start(Http1::default(), Limits::default());
        let mut records = Vec::new();
        let mut write = |side, bytes: &[u8], time| {
            let piece = Piece { position: 0, length: bytes.len() as u64, bytes, time };
            connection.push(side, piece, &mut records);
        };
        let (asked, answered) = (
            &b"PUT /a?b HTTP/1.1\r\nHost: shop\r\nTraceparent: 00-ab\r\nContent-Length: 2\r\n\r\nhi"[..],
            &b"HTTP/1.1 503 Busy\r\nContent-Length: 3\r\n\r\nno!"[..],
        );
        write(Side::Client, asked, 5);
        write(Side::Server, answered, 9);
        let Some(Record::Exchange(exchange)) = records.pop() else { panic!("one exchange") };
        let call = Call::from(exchange);
        assert_eq!(call.to_string(), "PUT /a 503");
        assert!(call.outcome.is_error());
        assert_eq!(call.namespace.as_deref(), Some("shop"));
        assert_eq!(call.traceparent.as_deref(), Some("00-ab"));
        assert_eq!((call.times.start, call.times.end), (5, Some(9)));
        let sizes = (asked.len() as u64, answered.len() as u64);
        assert_eq!((call.request_size, call.answer_size), sizes);
    }
}
