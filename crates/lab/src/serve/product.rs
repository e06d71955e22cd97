//! The product service: burns a known amount of CPU for each request, asks the
//! cache and the inventory, and answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::error::Result;
use crate::serve::client::{Call, CallError, Policy, Pool};
use crate::serve::http::{Request, Response};
use crate::serve::leak::{self, log};
use crate::serve::server::Server;
use crate::serve::{Pod, dns, redis};

/// Requests on one connection to the inventory, and its life: little, so that
/// opening connections (and resolving the name for each) is part of everyday life.
const MAX_USES: u32 = 20;
const MAX_AGE: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
/// One of so many served requests is logged.
const LOG_EVERY: u64 = 10;

struct Product {
    cache: redis::Client,
    inventory: Pool,
    inventory_name: String,
    dns: SocketAddr,
    burn: Duration,
    watch: crate::control::Watch,
    served: AtomicU64,
}

/// Serves until the process ends.
pub(crate) fn run(pod: &Pod) -> Result<()> {
    let product = Product {
        cache: redis::Client::new(pod.service("cache")?),
        inventory: Pool::new(
            "inventory",
            Policy { max_uses: MAX_USES, max_age: MAX_AGE, connect: TIMEOUT, answer: TIMEOUT },
        ),
        inventory_name: format!("inventory.{}", dns::DOMAIN),
        dns: pod.service("dns")?,
        burn: Duration::from_micros(pod.lab.product_burn_us),
        watch: pod.watch.clone(),
        served: AtomicU64::new(0),
    };
    leak::start(&pod.state_dir, &pod.watch);
    log("level=info msg=\"product ready\"");
    let handler = move |request: &Request| product.handle(request);
    pod.ended(Server::new(pod.port()?, pod.watch.clone(), handler).run())
}

impl Product {
    fn handle(&self, request: &Request) -> Response {
        let start = Instant::now();
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        burn(self.burn);
        let response = if self.watch.get().fails(number) {
            log("level=error msg=\"render failed\" err=\"template: price: nil pointer\"");
            Response::error(500, "internal error")
        } else {
            self.answer(request)
        };
        if number.is_multiple_of(LOG_EVERY) {
            log(&format!(
                "level=info msg=\"request served\" method={} path={} status={} ms={}",
                request.method,
                request.path,
                response.status,
                start.elapsed().as_millis()
            ));
        }
        response
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.path.as_str();
        match request.method.as_str() {
            "GET" | "HEAD" if path == "/" => self.list(),
            "GET" | "HEAD" if path.starts_with("/product/") => self.show("/product/", path),
            "GET" | "HEAD" if path.starts_with("/cart/") => self.show("/cart/", path),
            "POST" if path == "/checkout" => self.checkout(request),
            _ => Response::error(404, "no such page"),
        }
    }

    fn list(&self) -> Response {
        let names: Vec<String> = (0..40).map(|i| format!("product-{i}")).collect();
        let body = self.cached("products", || serde_json::json!(names).to_string());
        Response { chunked: true, ..Response::json(200, body) }
    }

    fn show(&self, prefix: &str, path: &str) -> Response {
        let id = &path[prefix.len()..];
        let key = format!("{}{id}", &prefix[1..]);
        let what = self.cached(&key, || format!(r#"{{"id":"{id}"}}"#));
        let stock_path = format!("/stock/{id}");
        match self.ask_inventory(Call::get(&stock_path)) {
            Ok(stock) => Response::json(200, [&what[..], b"\n", &stock[..]].concat()),
            Err(response) => response,
        }
    }

    fn checkout(&self, request: &Request) -> Response {
        let call = Call { method: "POST", path: "/reserve", body: &request.body, chunked: false };
        match self.ask_inventory(call) {
            Ok(reserved) => Response::json(201, reserved),
            Err(response) => response,
        }
    }

    /// Body of the inventory's answer, or the answer to give instead.
    fn ask_inventory(&self, call: Call<'_>) -> std::result::Result<Vec<u8>, Response> {
        match self.inventory.call(call, || self.resolve()) {
            Ok(answer) if answer.response.status < 400 => Ok(answer.response.body),
            Ok(answer) => {
                let status = answer.response.status;
                log(&format!("level=error msg=\"inventory refused\" status={status}"));
                Err(Response::error(502, "inventory refused"))
            }
            Err(e) => {
                log(&format!(
                    "level=error msg=\"inventory call failed\" path={} err=\"{e}\"",
                    call.path
                ));
                Err(Response::error(503, "inventory unavailable"))
            }
        }
    }

    fn resolve(&self) -> std::result::Result<SocketAddr, CallError> {
        dns::resolve(self.dns, &self.inventory_name).map(|ip| SocketAddr::from((ip, 80))).map_err(
            |e| CallError::Lookup { name: self.inventory_name.clone(), why: e.to_string() },
        )
    }

    /// Looks a key up in the cache and fills it where it is missing. Without a
    /// cache the shop still works.
    fn cached(&self, key: &str, make: impl Fn() -> String) -> Vec<u8> {
        match self.cache.command(&[b"GET", key.as_bytes()]) {
            Ok(Some(value)) => value,
            Ok(None) => {
                let value = make().into_bytes();
                self.note(self.cache.command(&[b"SET", key.as_bytes(), &value]));
                value
            }
            Err(e) => {
                self.note(Err(e));
                make().into_bytes()
            }
        }
    }

    fn note(&self, result: std::io::Result<Option<Vec<u8>>>) {
        if let Err(e) = result {
            let number = self.served.load(Ordering::Relaxed);
            log(&format!("level=warn msg=\"cache unavailable\" request={number} err=\"{e}\""));
        }
    }
}

/// Uses the CPU for this long, by the thread's own CPU clock: being preempted
/// or throttled does not shorten the work.
fn burn(time: Duration) {
    let used = || {
        let t = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(t.tv_sec.cast_unsigned(), t.tv_nsec as u32)
    };
    let start = used();
    let mut sum = 0_u64;
    while used().saturating_sub(start) < time {
        for i in 0..2000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(33) ^ i);
        }
    }
}
