//! Series and spans to whatever speaks OTLP (`http/protobuf` or `grpc`).
//!
//! Two workers, each with a thread of its own: one sends all series every
//! [`Config::interval`], one sends spans in batches. A sum that could not be sent is
//! part of the next sum, so series need no queue; spans wait in one of bounded length.
//! What was sent, given up or refused by the queue is counted under OpenTelemetry's own
//! names, in the same registry.

mod client;
mod config;
mod exporter;
mod grpc;
mod metrics;
mod retry;
mod spans;
mod stages;

pub use client::ClientError;
pub use config::{Config, ConfigError, Kind, Protocol, Signals, Target};
pub use exporter::{Exporter, StartError};
pub use metrics::{Form, requests as metric_requests};
pub use spans::{Owned, Spans, request as span_request};

use crate::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use taproot_model::schema::SEMCONV;

/// Where the schema of the conventions is.
fn schema_url() -> String {
    format!("https://opentelemetry.io/schemas/{SEMCONV}")
}

fn scope(version: &str) -> InstrumentationScope {
    InstrumentationScope {
        name: "taproot".into(),
        version: version.into(),
        ..InstrumentationScope::default()
    }
}

fn resource(owner: &crate::Owner) -> Resource {
    let attributes =
        owner.attributes.iter().map(|(key, value)| pair(key, &Value::Text(value.clone())));
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

fn pair(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.to_string()),
        Value::Int(number) => any_value::Value::IntValue(*number),
        Value::Bool(is) => any_value::Value::BoolValue(*is),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}
