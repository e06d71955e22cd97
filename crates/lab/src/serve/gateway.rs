//! The gateway for machines without nginx: passes every request to the product
//! service and turns failures into 502 and 504.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::serve::Pod;
use crate::serve::client::{Call, Policy, Pool};
use crate::serve::http::{Request, Response};
use crate::serve::server::Server;

/// Longest wait for the product service, as in the nginx configuration.
const ANSWER_SECONDS: u64 = 2;
/// Longest wait for a connection, as in the nginx configuration.
const CONNECT_SECONDS: u64 = 1;
/// Requests on one connection to the product, as in the nginx configuration.
const MAX_USES: u32 = 50;
/// Life of a connection to the product, as in the nginx configuration.
const MAX_AGE_SECONDS: u64 = 3;

/// Serves until the process ends.
pub(crate) fn run(pod: &Pod) -> Result<()> {
    println!("level=info msg=\"gateway ready\"");
    let product = pod.service("product")?;
    let policy = Policy {
        max_uses: MAX_USES,
        max_age: Duration::from_secs(MAX_AGE_SECONDS),
        connect: Duration::from_secs(CONNECT_SECONDS),
        answer: Duration::from_secs(ANSWER_SECONDS),
    };
    let pool = Pool::new("product", policy);
    let count = AtomicU64::new(0);
    let handler = move |request: &Request| {
        let start = Instant::now();
        let response = forward(&pool, product, request);
        if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(10) {
            println!(
                "level=info method={} path={} status={} ms={}",
                request.method,
                request.path,
                response.status,
                start.elapsed().as_millis()
            );
        }
        response
    };
    pod.ended(Server::new(pod.port()?, pod.watch.clone(), handler).run())
}

fn forward(pool: &Pool, product: SocketAddr, request: &Request) -> Response {
    let call =
        Call { method: &request.method, path: &request.path, body: &request.body, chunked: false };
    match pool.call(call, || Ok(product)) {
        Ok(answer) => {
            Response { content_type: "application/json", keep_alive: true, ..answer.response }
        }
        Err(e) => {
            println!("level=error msg=\"upstream failed\" path={} err=\"{e}\"", request.path);
            Response::error(if e.is_timeout() { 504 } else { 502 }, &e.to_string())
        }
    }
}

/// Configuration for a real nginx in the gateway's place.
pub(crate) fn nginx_config(port: u16, product: SocketAddr, dir: &str) -> String {
    format!(
        "user root;
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log /dev/stdout;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_requests 1000;
  upstream product {{
    server {product} max_fails=0;
    keepalive 16;
    keepalive_requests {MAX_USES};
    keepalive_time {MAX_AGE_SECONDS}s;
  }}
  server {{
    listen {port};
    location /nginx_status {{ stub_status; access_log off; }}
    location / {{
      proxy_pass http://product;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_connect_timeout {CONNECT_SECONDS}s;
      proxy_read_timeout {ANSWER_SECONDS}s;
      proxy_next_upstream off;
    }}
  }}
}}
"
    )
}
