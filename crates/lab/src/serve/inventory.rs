//! The inventory service, and the little API server.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::serve::Pod;
use crate::serve::http::{Request, Response};
use crate::serve::leak::log;
use crate::serve::server::Server;

/// The inventory: answers `GET /stock/{id}` and `POST /reserve`. The version that a
/// rollout brings fails a share of them; the one before it never does.
pub(crate) fn run(pod: &Pod) -> Result<()> {
    log("level=info msg=\"inventory ready\"");
    let (own, watch, served) = (Some(pod.image()), pod.watch.clone(), AtomicU64::new(0));
    serve(pod, move |request| {
        let number = served.fetch_add(1, Ordering::Relaxed);
        let told = watch.get();
        if told.image == own && told.fails(number) {
            log("level=error msg=\"no stock record\" err=\"decode: unknown field `shelf`\"");
            return Response::error(500, "internal error");
        }
        answer(request)
    })
}

fn answer(request: &Request) -> Response {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET" | "HEAD", path) if path.starts_with("/stock/") => {
            let id = path["/stock/".len()..].bytes().map(u32::from).sum::<u32>();
            Response::json(200, format!(r#"{{"stock":{},"warehouse":"north"}}"#, id % 40))
        }
        ("POST", "/reserve") if !request.body.is_empty() => {
            Response::json(201, format!(r#"{{"reserved":true,"bytes":{}}}"#, request.body.len()))
        }
        _ => Response::error(404, "no such resource"),
    }
}

/// The API server: answers `GET /version` and the list of pods.
pub(crate) fn run_api(pod: &Pod) -> Result<()> {
    println!("I serving on port {}", pod.port()?);
    let names: Vec<String> = pod.lab.pods.iter().map(|p| p.name.clone()).collect();
    let list = serde_json::json!({ "kind": "PodList", "items": names }).to_string();
    serve(pod, move |request| match request.path.as_str() {
        "/version" => Response::json(200, r#"{"major":"1","minor":"36"}"#),
        "/api/v1/namespaces/shop/pods" => Response::json(200, list.clone()),
        _ => Response::error(404, "the server could not find the requested resource"),
    })
}

fn serve(pod: &Pod, handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Result<()> {
    pod.ended(Server::new(pod.port()?, pod.watch.clone(), handler).run())
}
