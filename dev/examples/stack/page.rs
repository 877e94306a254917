//! What the create page needs from the stack: its configuration, the hooks of its bench, and a way to a phone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dev::Shape;
use dev::fault::StackFault;
use dev::supabase::Project;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use reqwest::Url;
use serde_json::{Value, json};

/// The users that the bench offers. Any other word is a user too.
const USERS: [&str; 3] = ["demo@example.com", "demo+anna@example.com", "demo+ben@example.com"];

/// What the page is configured with.
pub(crate) struct PageSettings<'a> {
    /// Address of a Supabase project and its publishable key; `None` for the demo users.
    pub(crate) project: Option<(String, &'a str)>,
    /// The models that a user may choose.
    pub(crate) models: Vec<String>,
    /// The largest number of pictures of a face swap.
    pub(crate) face_swap_pictures: Option<u64>,
    /// Whether the upstreams are the fakes.
    pub(crate) has_fakes: bool,
}

/// The content of `config.json`.
pub(crate) fn config(settings: &PageSettings<'_>) -> Value {
    let (url, key) = settings.project.as_ref().map_or(("", "local"), |(url, key)| (url.as_str(), *key));
    let shapes = Shape::ALL.iter().map(|shape| shape.name()).filter(|_| settings.has_fakes);
    let faults = StackFault::all().map(StackFault::name).filter(|_| settings.has_fakes);
    let users: &[&str] = if settings.project.is_none() { &USERS } else { &[] };
    let mut config = json!({
        "supabase": {"url": url, "key": key},
        "signIn": if settings.project.is_some() { json!(["password", "code"]) } else { json!(["password"]) },
        "models": settings.models,
        "faceSwapPictures": settings.face_swap_pictures.unwrap_or(3),
    });
    if settings.has_fakes || !users.is_empty() {
        config["local"] = json!({
            "users": users,
            "password": "demo",
            "shapes": shapes.collect::<Vec<_>>(),
            "faults": faults.collect::<Vec<_>>(),
        });
    }
    config
}

/// The hooks of the bench. `bucket` is the address of the stack's own bucket; `project` is the fake of Supabase, if it is
/// used.
pub(crate) fn hooks(address: SocketAddr, bucket: Option<String>, project: Option<Project>) -> Router {
    let own: Arc<[String]> =
        [format!("http://{address}/")].into_iter().chain(bucket.map(|at| format!("{at}/"))).collect();
    let expired = move |RawQuery(query): RawQuery| async move {
        let email = member(query, "email").ok_or(StatusCode::BAD_REQUEST)?;
        let project = project.ok_or(StatusCode::NOT_FOUND)?;
        let mut claims = Project::claims(&format!("http://{address}/auth/v1"), &email);
        let hour_ago = |time: &Value| time.as_u64().map(|seconds| seconds.saturating_sub(2 * 3600));
        for name in ["exp", "iat"] {
            claims[name] = json!(hour_ago(&claims[name]));
        }
        Ok::<_, StatusCode>(([(header::CACHE_CONTROL, "no-store")], project.token(&claims)))
    };
    let link = move |RawQuery(query): RawQuery| async move {
        let target = member(query, "to").ok_or(StatusCode::BAD_REQUEST)?;
        if !own.iter().any(|start| target.starts_with(start)) {
            return Err(StatusCode::FORBIDDEN);
        }
        forward(&target).await.map_err(|_| StatusCode::BAD_GATEWAY)
    };
    Router::new().route("/dev/expired-token", get(expired)).route("/dev/link", get(link))
}

/// Fetches a link of a fake or of the bucket. A phone cannot reach this machine's loopback address, where they lead.
async fn forward(target: &str) -> reqwest::Result<Response> {
    let response = reqwest::get(target).await?;
    let media_type = response.headers().get(header::CONTENT_TYPE).cloned();
    let mut forwarded = (response.status(), Body::from_stream(response.bytes_stream())).into_response();
    if let Some(media_type) = media_type {
        forwarded.headers_mut().insert(header::CONTENT_TYPE, media_type);
    }
    Ok(forwarded)
}

fn member(query: Option<String>, name: &str) -> Option<String> {
    let url = Url::parse(&format!("http://query/?{}", query?)).ok()?;
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The address of `host` on the network. `0.0.0.0` is this machine's own one; no packet is sent to find it.
pub(crate) fn on_network(host: IpAddr) -> io::Result<IpAddr> {
    if !host.is_unspecified() {
        return Ok(host);
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // An address of the documentation range: only its route matters.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
    Ok(socket.local_addr()?.ip())
}

/// A QR code for a terminal.
pub(crate) fn qr_code(text: &str) -> io::Result<String> {
    let code = QrCode::new(text).map_err(io::Error::other)?;
    // Light modules are printed, so that the code is dark on light in a dark terminal.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
