//! Faults of the local stack, chosen by the header `x-dev-fault` of a request.
//!
//! A fault lies between the page and the service, or at an upstream. The latter meets the next upstream call: of four
//! pictures at once, one. A fault of the first or the second image upstream meets the next call of that upstream. A stack
//! can also have one fault for every request.
//!
//! An [`UpstreamFault`] needs a connection that it can break: the gate before the upstreams plays it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, http};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, future, stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::fault_server::{self, Script};
use crate::upstream_fault::{FaultWire, UpstreamFault};

/// The header of a request that chooses a fault by its name.
pub const FAULT_HEADER: &str = "x-dev-fault";

/// Bytes of a picture that arrive before a cut.
const BYTES_BEFORE_CUT: usize = 800 * 1024;
/// The time between the last piece of an answer and its cut.
const CUT_AFTER: Duration = Duration::from_millis(100);
/// Delay of a slow upstream, at speed 1.
const SLOW: Duration = Duration::from_secs(30);

macro_rules! faults {
    ($($fault:ident $name:literal $description:literal)*) => {
        /// What breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum StackFault {
            $(#[doc = concat!("`", $name, "`: ", $description, ".")] $fault,)*
            /// A numbered fault, such as `u24`.
            Numbered(&'static UpstreamFault),
        }

        impl StackFault {
            const NAMED: &[Self] = &[$(Self::$fault,)*];

            /// The name in the header.
            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* Self::Numbered(fault) => fault.name }
            }

            /// What breaks, without a full stop.
            pub fn description(self) -> &'static str {
                match self { $(Self::$fault => $description,)* Self::Numbered(fault) => fault.description }
            }
        }
    };
}

faults! {
    Cut "cut" "the connection to the page breaks in the middle of the first picture, or before the event `done`"
    Stall "stall" "the same, but the connection stays open and nothing more is sent"
    Offline "offline" "the connection is closed without a response"
    Platform "platform-502" "502 without a problem document, as AWS sends it for a crashed function"
    UpstreamCut "upstream-cut" "the upstream's answer breaks off in its first picture, on ARK after it"
    UpstreamBusy "upstream-busy" "every upstream answers 503"
    FirstUpstream "first-upstream" "the first image upstream answers 503, the second one draws"
    SecondUpstream "second-upstream" "the second image upstream answers 503"
    UpstreamSlow "upstream-slow" "the upstream answers after 30 seconds"
    Moderated "moderated" "the upstream's moderation refuses the request"
    NoPicture "no-picture" "the upstream sends text and no picture"
}

impl StackFault {
    /// Every fault.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMED.iter().copied().chain(UpstreamFault::ALL.iter().map(Self::Numbered))
    }
}

impl fmt::Display for StackFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for StackFault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::all().find(|fault| fault.name() == name).ok_or_else(|| format!("unknown fault `{name}`"))
    }
}

/// The faults that the next upstream calls meet, and the speed of the upstreams.
#[derive(Clone, Debug)]
pub struct StackFaults {
    /// For the next call of the first upstream, and of the second.
    at_upstreams: Arc<Mutex<[Option<StackFault>; 2]>>,
    /// The fault of every request without the header.
    always: Option<StackFault>,
    speed: f64,
}

/// The faults at one upstream.
#[derive(Clone, Debug)]
struct UpstreamFaults {
    all: StackFaults,
    /// The second image upstream.
    is_second: bool,
}

impl StackFaults {
    /// `always` is the fault of every request without the header. `speed` divides the delays.
    pub fn new(always: Option<StackFault>, speed: f64) -> Self {
        Self { at_upstreams: Arc::default(), always, speed }
    }

    /// The routes of the service, with the fault that a request names.
    pub fn at_service(&self, routes: Router) -> Router {
        routes.layer(middleware::from_fn_with_state(self.clone(), service))
    }

    /// The routes of the first image upstream and of ARK, with the fault that the service's request has named.
    pub fn at_first_upstream(&self, routes: Router) -> Router {
        self.at_upstream(routes, false)
    }

    /// The routes of the second image upstream.
    pub fn at_second_upstream(&self, routes: Router) -> Router {
        self.at_upstream(routes, true)
    }

    fn at_upstream(&self, routes: Router, is_second: bool) -> Router {
        let faults = UpstreamFaults { all: self.clone(), is_second };
        routes.layer(middleware::from_fn_with_state(faults, upstream))
    }

    /// Sets the fault of a request.
    fn set(&self, fault: StackFault) {
        let at = |first, second| [first, second].map(|is_met: bool| is_met.then_some(fault));
        *self.next() = match fault {
            StackFault::FirstUpstream => at(true, false),
            StackFault::SecondUpstream => at(false, true),
            _ => at(true, true),
        };
    }

    /// The fault of the next call of an upstream. A fault that makes the service call the other upstream stays for that
    /// one.
    fn take(&self, is_second: bool) -> Option<StackFault> {
        let lasting = if is_second { StackFault::SecondUpstream } else { StackFault::FirstUpstream };
        if self.always == Some(lasting) {
            return self.always;
        }
        let mut next = self.next();
        if let Some(StackFault::Numbered(_)) = next[usize::from(is_second)] {
            return None;
        }
        let taken = next[usize::from(is_second)].take();
        if taken != Some(StackFault::UpstreamBusy) {
            *next = [None, None];
        }
        taken
    }

    /// The script of the next call of an upstream. Every upstream that the request calls has the fault.
    fn take_script(&self, is_second: bool, wire: FaultWire) -> Option<Script> {
        let mut next = self.next();
        let of_upstream = &mut next[usize::from(is_second)];
        let Some(StackFault::Numbered(fault)) = *of_upstream else { return None };
        *of_upstream = None;
        fault.cases(wire).into_iter().next().map(|(_, script)| script)
    }

    fn next(&self) -> std::sync::MutexGuard<'_, [Option<StackFault>; 2]> {
        self.at_upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address at which the service finds its upstreams. A connection passes to the stack, unless a numbered fault meets
/// its request. It ends when dropped.
#[derive(Debug)]
pub struct FaultGate {
    /// The faults of the stack.
    pub faults: StackFaults,
    /// The address.
    pub address: SocketAddr,
    _server: JoinSet<()>,
}

impl FaultGate {
    /// Opens a gate on a free port of 127.0.0.1 before the stack at `stack`. The second upstream has its routes under
    /// `second`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn open(faults: StackFaults, stack: SocketAddr, second: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, mut server, of_server) = (listener.local_addr()?, JoinSet::new(), faults.clone());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // Either end may close a connection at any time.
                let faults = of_server.clone();
                connections.spawn(async move { drop(pass(client, stack, &faults, second).await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { faults, address, _server: server })
    }
}

/// Passes a connection to the stack, or plays the fault of its request.
async fn pass(mut client: TcpStream, stack: SocketAddr, faults: &StackFaults, second: &str) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut line = [0; 64];
    let count = client.peek(&mut line).await?;
    let line = String::from_utf8_lossy(&line[..count]).into_owned();
    if let Some(path) = line.strip_prefix("POST ") {
        let wire = if path.starts_with("/api/v3/") { FaultWire::Ark } else { FaultWire::Chat };
        if let Some(script) = faults.take_script(path.starts_with(second), wire) {
            return fault_server::play(client, script).await;
        }
    }
    let mut head = BytesMut::new();
    while !contains(&head, b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let mut server = TcpStream::connect(stack).await?;
    server.set_nodelay(true)?;
    // The links in an answer have the host that its request names.
    let here = format!("host: {}\r\n", client.local_addr()?);
    if let Some(at) = head.windows(here.len()).position(|part| part.eq_ignore_ascii_case(here.as_bytes())) {
        let rest = head.split_off(at + here.len());
        head.truncate(at);
        head.extend_from_slice(format!("host: {stack}\r\n").as_bytes());
        head.unsplit(rest);
    }
    server.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

async fn service(State(faults): State<StackFaults>, mut request: Request, next: Next) -> Response {
    let fault = match (request.headers_mut().remove(FAULT_HEADER), faults.always) {
        (Some(name), _) => name.to_str().unwrap_or_default().parse(),
        (None, Some(fault)) => Ok(fault),
        (None, None) => return next.run(request).await,
    };
    match fault {
        Err(unknown) => (StatusCode::BAD_REQUEST, unknown).into_response(),
        // A body that fails at once closes the connection; the head is not written before the first byte.
        Ok(StackFault::Offline) => Body::from_stream(stream::iter([Err::<Bytes, _>(cut_off())])).into_response(),
        Ok(StackFault::Platform) => (StatusCode::BAD_GATEWAY, "Internal Server Error").into_response(),
        Ok(fault @ (StackFault::Cut | StackFault::Stall)) => {
            let (head, body) = next.run(request).await.into_parts();
            let pieces = body.into_data_stream().map(|piece| piece.map_err(io::Error::other));
            Response::from_parts(head, broken(pieces, fault))
        }
        Ok(fault) => {
            faults.set(fault);
            next.run(request).await
        }
    }
}

/// The pieces up to a part of the first picture. A cut then fails, a stall waits.
fn broken(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static, fault: StackFault) -> Body {
    let mut picture_bytes = None;
    let before = pieces.take_while(move |piece| {
        let piece = piece.as_deref().unwrap_or_default();
        if let Some(bytes) = &mut picture_bytes {
            *bytes += piece.len();
        } else if contains(piece, b"event: image.") {
            picture_bytes = Some(piece.len());
        }
        let is_over = picture_bytes.is_some_and(|bytes| bytes > BYTES_BEFORE_CUT);
        future::ready(!is_over && !contains(piece, b"event: done"))
    });
    let end = stream::once(async move {
        match fault {
            StackFault::Stall => future::pending().await,
            _ => Err(cut_off()),
        }
    });
    Body::from_stream(before.chain(end))
}

fn contains(piece: &[u8], text: &[u8]) -> bool {
    piece.windows(text.len()).any(|window| window == text)
}

fn cut_off() -> io::Error {
    io::Error::other("the fault `cut`")
}

async fn upstream(State(faults): State<UpstreamFaults>, request: Request, next: Next) -> Response {
    let UpstreamFaults { all: faults, is_second } = faults;
    let fault = if request.method() == http::Method::POST { faults.take(is_second) } else { None };
    let is_ark = request.uri().path().starts_with("/api/v3/");
    // ARK is no image upstream of the local stack's routes.
    let fault = fault.filter(|fault| !is_ark || *fault != StackFault::FirstUpstream);
    match fault {
        Some(StackFault::UpstreamBusy | StackFault::FirstUpstream | StackFault::SecondUpstream) => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", "The service is overloaded.")
        }
        Some(StackFault::Moderated) => {
            let code = if is_ark { "InputTextSensitiveContentDetected" } else { "content_policy_violation" };
            refuse(StatusCode::BAD_REQUEST, code, "The request was refused by the safety system.")
        }
        Some(StackFault::NoPicture) => {
            let text = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"我不能画这个。"},"finish_reason":"stop"}]}"#;
            let body = if is_ark { "data: [DONE]\n\n".to_owned() } else { format!("{text}\n\ndata: [DONE]\n\n") };
            ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        Some(StackFault::UpstreamSlow) => {
            tokio::time::sleep(SLOW.div_f64(faults.speed)).await;
            next.run(request).await
        }
        Some(StackFault::UpstreamCut) => {
            let (head, body) = next.run(request).await.into_parts();
            let mut bytes = 0;
            let before =
                body.into_data_stream().map(|piece| piece.map_err(io::Error::other)).take_while(move |piece| {
                    let is_over = bytes > if is_ark { 0 } else { BYTES_BEFORE_CUT };
                    bytes += piece.as_ref().map_or(0, Bytes::len);
                    future::ready(!is_over)
                });
            // The pieces are on the wire by then: a server drops what it has not sent when it closes a connection.
            let end = stream::once(async {
                tokio::time::sleep(CUT_AFTER).await;
                Err(cut_off())
            });
            Response::from_parts(head, Body::from_stream(before.chain(end)))
        }
        _ => next.run(request).await,
    }
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"error": {"code": code, "message": message, "type": code, "param": null}}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_parses_from_its_name() {
        for fault in StackFault::all() {
            assert_eq!(fault.to_string().parse(), Ok(fault));
            assert!(!fault.description().is_empty());
        }
        assert!("thunder".parse::<StackFault>().is_err());
    }

    #[test]
    fn a_fault_meets_its_upstreams() {
        use StackFault::{FirstUpstream, SecondUpstream, UpstreamBusy, UpstreamCut};
        let faults = StackFaults::new(None, 1.0);
        let calls = |fault| {
            faults.set(fault);
            [false, true, false, true].map(|is_second| faults.take(is_second))
        };
        assert_eq!(calls(UpstreamCut), [Some(UpstreamCut), None, None, None]);
        assert_eq!(calls(UpstreamBusy), [Some(UpstreamBusy), Some(UpstreamBusy), None, None]);
        assert_eq!(calls(FirstUpstream), [Some(FirstUpstream), None, None, None]);
        let always = StackFaults::new(Some(SecondUpstream), 1.0);
        let expected = [None, Some(SecondUpstream), None, Some(SecondUpstream)];
        assert_eq!([false, true, false, true].map(|is_second| always.take(is_second)), expected);
    }
}
