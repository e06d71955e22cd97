//! OTLP over gRPC: the same bodies, each as one message.

use super::client::{ClientError, Refusal};
use super::{Kind, Target};
use http::uri::PathAndQuery;
use prost::Message;
use prost::bytes::{Buf, BufMut, Bytes};
use std::time::Duration;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

/// How a message that says when to come back is told apart.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A channel to one receiver. Everything about it happens while something is sent, on
/// the sender's own thread.
pub(super) struct Grpc {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    method: PathAndQuery,
    headers: MetadataMap,
    gzip: bool,
}

impl Grpc {
    pub(super) fn new(target: &Target) -> Result<Self, ClientError> {
        let cannot = |why: String| ClientError::Channel { url: target.url.clone(), why };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| cannot(error.to_string()))?;
        let endpoint = Endpoint::from_shared(target.url.clone())
            .and_then(|endpoint| {
                endpoint.user_agent(concat!("taproot/", env!("CARGO_PKG_VERSION")))
            })
            .map_err(|error| cannot(error.to_string()))?;
        let endpoint = if target.url.starts_with("https:") {
            let tls = tls(target)?;
            endpoint.tls_config(tls).map_err(|error| cannot(error.to_string()))?
        } else {
            endpoint
        };
        let channel = {
            let _within = runtime.enter();
            endpoint.connect_lazy()
        };
        let mut headers = MetadataMap::new();
        for (name, value) in &target.headers {
            let key = MetadataKey::<Ascii>::from_bytes(name.to_lowercase().as_bytes());
            let value = MetadataValue::<Ascii>::try_from(value.as_str());
            let (Ok(key), Ok(value)) = (key, value) else {
                return Err(cannot(format!("`{name}` is no header for text over gRPC")));
            };
            headers.append(key, value);
        }
        let method = PathAndQuery::from_static(match target.kind {
            Kind::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Kind::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        });
        Ok(Self { runtime, channel, method, headers, gzip: target.gzip })
    }

    /// Sends one body, within `time` at most; returns the answer's.
    pub(super) fn send(&self, body: &[u8], time: Duration) -> Result<Vec<u8>, Refusal> {
        self.runtime.block_on(async {
            match tokio::time::timeout(time, self.call(body, time)).await {
                Ok(answer) => answer,
                Err(_) => Err(local("timeout", format!("no answer within {time:?}"))),
            }
        })
    }

    async fn call(&self, body: &[u8], time: Duration) -> Result<Vec<u8>, Refusal> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client = client.accept_compressed(CompressionEncoding::Gzip);
        client.ready().await.map_err(|error| local("connection", chain(&error)))?;
        let mut request = Request::new(Bytes::copy_from_slice(body));
        *request.metadata_mut() = self.headers.clone();
        request.set_timeout(time);
        let answer = client.unary(request, self.method.clone(), Raw).await;
        answer.map(|answer| answer.into_inner().to_vec()).map_err(|status| refusal(&status))
    }
}

fn tls(target: &Target) -> Result<ClientTlsConfig, ClientError> {
    let Some(path) = &target.certificate else {
        return Ok(ClientTlsConfig::new().with_webpki_roots());
    };
    let pem = std::fs::read(path)
        .map_err(|error| ClientError::Authorities { path: path.clone(), why: error.to_string() })?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

fn local(kind: &str, why: String) -> Refusal {
    Refusal { kind: kind.into(), why, may_pass: true, after: None }
}

/// An error with what caused it: by itself it says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        out = format!("{out}: {cause}");
        source = cause.source();
    }
    out
}

/// What the receiver, or the way to it, says against a request. Which answers may pass
/// is the OTLP specification's list.
fn refusal(status: &Status) -> Refusal {
    // A status that is made here has an error behind it: no answer came.
    if std::error::Error::source(status).is_some() {
        return local("connection", chain(status));
    }
    let after = retry_info(status.details());
    let may_pass = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        _ => false,
    };
    let why = format!("{:?}: {}", status.code(), status.message());
    Refusal { kind: name(status.code()).into(), why, may_pass, after }
}

/// The code as gRPC writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// `google.rpc.Status`, which comes with a status; of it only what may say when to come
/// back.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyMessage>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct AnyMessage {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let all = Details::decode(details).ok()?.details;
    let info = all.iter().find(|any| any.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&*info.value).ok()?.delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    Some(Duration::new(seconds, u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999)))
}

/// Messages that are encoded already.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks_to_wait(seconds: i64) -> Vec<u8> {
        let info = RetryInfo { delay: Some(Delay { seconds, nanos: 500_000_000 }) };
        let any = AnyMessage { type_url: RETRY_INFO.into(), value: info.encode_to_vec() };
        Details { details: vec![any] }.encode_to_vec()
    }

    #[test]
    fn an_exhausted_receiver_is_asked_again_only_when_it_says_when() {
        let asks = Status::with_details(Code::ResourceExhausted, "", asks_to_wait(3).into());
        let refused = refusal(&asks);
        assert!(refused.may_pass);
        assert_eq!(refused.after, Some(Duration::from_millis(3_500)));
        assert_eq!(refused.kind, "RESOURCE_EXHAUSTED");
        assert!(!refusal(&Status::resource_exhausted("")).may_pass);
        assert_eq!(retry_info(b"\xff\xff"), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let passes = |code| refusal(&Status::new(code, "")).may_pass;
        assert!(passes(Code::Unavailable) && passes(Code::DeadlineExceeded));
        for code in [Code::InvalidArgument, Code::Unauthenticated, Code::Unimplemented] {
            assert!(!passes(code), "{code:?}");
        }
    }
}
