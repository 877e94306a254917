//! The create page, as it is built into `web/dist/demo`, and its configuration.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;
use serde_json::Value;

macro_rules! built {
    ($name:literal) => {
        include_str!(concat!("../../web/dist/demo/", $name))
    };
}

/// Path, media type and content of each file.
const FILES: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", built!("index.html")),
    ("/app.js", "text/javascript; charset=utf-8", built!("app.js")),
    ("/photos-worker.js", "text/javascript; charset=utf-8", built!("photos-worker.js")),
    ("/visible-label.js", "text/javascript; charset=utf-8", built!("visible-label.js")),
    ("/style.css", "text/css; charset=utf-8", built!("style.css")),
    ("/icon.svg", "image/svg+xml", built!("icon.svg")),
];

/// The page at `/`, with `config` as its `config.json`.
pub fn routes(config: &Value) -> Router {
    let config = ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], config.to_string());
    FILES.into_iter().fold(Router::new().route("/config.json", get(config)), |router, (path, media_type, content)| {
        // The stack has no TLS: its links are `http`.
        let content = if path == "/" { content.replace(" https:", " https: http:") } else { content.to_owned() };
        let headers = [
            (CONTENT_TYPE, media_type),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
        ];
        router.route(path, get((headers, content)))
    })
}
