use super::client::{Client, ClientError, Refusal};
use super::retry::Backoff;
use super::spans::Owned;
use super::{Config, Spans, metrics, spans};
use crate::{Registry, Value};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use taproot_model::{Signal, Timestamp};

/// Time for the last exports once it is to stop.
const GRACE: Duration = Duration::from_secs(3);

/// An exporter that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting does not work.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No thread.
    #[error("cannot start a thread for the export: {0}")]
    Thread(#[from] std::io::Error),
}

/// What the workers share with who feeds them.
struct Shared {
    registry: Arc<Mutex<Registry>>,
    config: Config,
    version: String,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Spans that wait.
    queue: VecDeque<Owned>,
    /// Set once: no worker may take longer than until then.
    end: Option<Instant>,
}

/// Sends series and spans until it is stopped or dropped.
pub struct Exporter {
    shared: Arc<Shared>,
    spans: Option<Spans>,
    workers: Vec<JoinHandle<()>>,
}

impl Exporter {
    /// Starts to send what `registry` holds. `version` is the program's.
    ///
    /// # Errors
    /// When a certificate cannot be read, or there is no thread to be had. A receiver
    /// that is not there (yet) is no error: it is tried again.
    pub fn start(
        registry: Arc<Mutex<Registry>>,
        config: Config,
        version: &str,
    ) -> Result<Self, StartError> {
        let clients = [config.signals.metrics.clone(), config.signals.traces.clone()];
        let [metrics, traces] = clients.map(|target| target.map(Client::new).transpose());
        let (metrics, traces) = (metrics?, traces?);
        let shared = Arc::new(Shared {
            registry,
            config,
            version: version.into(),
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        let spans = traces.is_some().then(Spans::default);
        let mut exporter = Self { shared, spans, workers: Vec::new() };
        if let Some(client) = metrics {
            exporter.work("otlp-metrics", move |shared| shared.send_metrics(&client))?;
        }
        if let Some(client) = traces {
            exporter.work("otlp-traces", move |shared| shared.send_spans(&client))?;
        }
        Ok(exporter)
    }

    fn work(
        &mut self,
        name: &str,
        run: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<(), StartError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.into());
        self.workers.push(thread.spawn(move || run(&shared))?);
        Ok(())
    }

    /// Takes the requests kept in full out of a batch of signals. The registry is fed
    /// by whoever owns it. Never waits: what finds the queue full is dropped and counted.
    pub fn observe(&mut self, signals: &[Signal]) {
        let Some(spans) = &mut self.spans else { return };
        let new = spans.of(signals);
        if !new.is_empty() {
            self.shared.enqueue(new);
        }
    }

    /// Sends what there is, for three seconds at most, and ends.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.observe(&[]); // what was kept back
        self.spans = None;
        let end = *self.shared.state().end.get_or_insert_with(|| Instant::now() + GRACE);
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // One that waits for an answer ends by itself a little later.
            while !worker.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.halt();
    }
}

/// What of a request counts, and as what.
struct Parcel {
    body: Vec<u8>,
    items: u64,
    exported: &'static str,
    component: &'static str,
    /// Items the receiver rejected out of an answer's body.
    rejected: fn(&[u8]) -> (u64, String),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, new: Vec<Owned>) {
        let mut state = self.state();
        let room = self.config.queue.saturating_sub(state.queue.len());
        let taken = new.len().min(room);
        let refused = new.len() - taken;
        state.queue.extend(new.into_iter().take(taken));
        let full = state.queue.len() >= self.config.batch;
        drop(state);
        if full {
            self.wake.notify_all();
        }
        let mut registry = self.registry();
        let own = component("batching_span_processor", "taproot-spans", None);
        let processed = "otel.sdk.processor.span.processed";
        registry.add_own(processed, &own, taken as f64);
        if refused > 0 {
            let full = component("batching_span_processor", "taproot-spans", Some("queue_full"));
            registry.add_own(processed, &full, refused as f64);
        }
        drop(registry);
        self.tell_waiting();
    }

    /// Asks under the registry's lock, so that the last to tell tells what is so.
    fn tell_waiting(&self) {
        let own = component("batching_span_processor", "taproot-spans", None);
        let mut registry = self.registry();
        let waiting = self.state().queue.len();
        registry.set_own("otel.sdk.processor.span.queue.size", &own, waiting as f64);
        let capacity = self.config.queue as f64;
        registry.set_own("otel.sdk.processor.span.queue.capacity", &own, capacity);
    }

    /// Sleeps, at most until something happens that `enough` sees; says whether to end.
    fn rest(&self, time: Duration, enough: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state();
        while state.end.is_none() && !enough(&state) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.end.is_some()
    }

    fn send_metrics(&self, client: &Client) {
        loop {
            let end = self.rest(self.config.interval, |_| false);
            let families = self.registry().families();
            let now = Timestamp::now();
            for (request, items) in
                metrics::requests(&families, self.config.form, &self.version, now)
            {
                let parcel = Parcel {
                    body: request.encode_to_vec(),
                    items,
                    exported: "otel.sdk.exporter.metric_data_point.exported",
                    component: "taproot-metrics",
                    rejected: rejected_points,
                };
                self.deliver(client, &parcel);
            }
            if end {
                return;
            }
        }
    }

    fn send_spans(&self, client: &Client) {
        let batch = self.config.batch;
        loop {
            let end = self.rest(self.config.delay, |state| state.queue.len() >= batch);
            loop {
                let next: Vec<Owned> = {
                    let mut state = self.state();
                    let n = state.queue.len().min(batch);
                    state.queue.drain(..n).collect()
                };
                if next.is_empty() {
                    break;
                }
                self.tell_waiting();
                let parcel = Parcel {
                    body: spans::request(&next, &self.version).encode_to_vec(),
                    items: next.len() as u64,
                    exported: "otel.sdk.exporter.span.exported",
                    component: "taproot-traces",
                    rejected: rejected_spans,
                };
                self.deliver(client, &parcel);
            }
            if end {
                return;
            }
        }
    }

    /// Sends one parcel, again and again while that may help, and counts what became of it.
    fn deliver(&self, client: &Client, parcel: &Parcel) {
        let give_up = Instant::now() + self.config.patience;
        let left = || {
            let end = self.state().end.unwrap_or(give_up).min(give_up);
            end.saturating_duration_since(Instant::now())
        };
        let mut backoff = Backoff::new();
        loop {
            let refusal = match client.send(&parcel.body, left()) {
                Ok(answer) => return self.delivered(client, parcel, &answer),
                Err(refusal) => refusal,
            };
            let pause = backoff.pause(refusal.after, fastrand::f64());
            if !refusal.may_pass || pause >= left() {
                return self.given_up(client, parcel, &refusal);
            }
            tracing::debug!(url = client.url(), why = refusal.why, ?pause, "OTLP: trying again");
            self.rest(pause, |_| false);
        }
    }

    fn delivered(&self, client: &Client, parcel: &Parcel, answer: &[u8]) {
        let (rejected, why) = (parcel.rejected)(answer);
        let rejected = rejected.min(parcel.items);
        if rejected > 0 || !why.is_empty() {
            tracing::warn!(url = client.url(), rejected, why, "OTLP: not all was taken");
        }
        self.tell(client, parcel, parcel.items - rejected, None);
        self.tell(client, parcel, rejected, Some("rejected"));
    }

    fn given_up(&self, client: &Client, parcel: &Parcel, refusal: &Refusal) {
        let why = &refusal.why;
        tracing::warn!(url = client.url(), items = parcel.items, why, "OTLP: not delivered");
        self.tell(client, parcel, parcel.items, Some(&refusal.kind));
    }

    fn tell(&self, client: &Client, parcel: &Parcel, items: u64, error: Option<&str>) {
        if items > 0 {
            let attributes = component(client.kind(), parcel.component, error);
            self.registry().add_own(parcel.exported, &attributes, items as f64);
        }
    }
}

fn component(kind: &str, name: &str, error: Option<&str>) -> Vec<(&'static str, Value)> {
    let mut out = vec![("otel.component.type", kind.into()), ("otel.component.name", name.into())];
    out.extend(error.map(|error| ("error.type", error.into())));
    out
}

/// An answer that cannot be read objects to nothing: its status was good.
fn rejected_points(body: &[u8]) -> (u64, String) {
    let answer = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    (partial.rejected_data_points.try_into().unwrap_or(0), partial.error_message)
}

fn rejected_spans(body: &[u8]) -> (u64, String) {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    (partial.rejected_spans.try_into().unwrap_or(0), partial.error_message)
}
