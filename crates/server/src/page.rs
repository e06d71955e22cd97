//! The page: a handful of hand-written files inside the binary.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Path, type and text of every file.
const FILES: [(&str, &str, &str); 8] = [
    ("/", HTML, include_str!("../ui/index.html")),
    ("/ui/style.css", CSS, include_str!("../ui/style.css")),
    ("/ui/app.js", JS, include_str!("../ui/app.js")),
    ("/ui/dom.js", JS, include_str!("../ui/dom.js")),
    ("/ui/layout.js", JS, include_str!("../ui/layout.js")),
    ("/ui/map.js", JS, include_str!("../ui/map.js")),
    ("/ui/services.js", JS, include_str!("../ui/services.js")),
    ("/ui/findings.js", JS, include_str!("../ui/findings.js")),
];

pub(crate) fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || ([(header::CONTENT_TYPE, kind)], text)))
    })
}
