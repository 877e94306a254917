//! The rows of upstream faults that lie before a connection, or between two.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::fault_server::{FaultServer, Step};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::upstream_row::{Ask, Expected, Rows, failed};
use crate::support::{Stand, Upstream};

/// A certificate for 127.0.0.1 that it has signed itself: no system trusts it.
const SELF_SIGNED: &str = "MIIBjzCCATagAwIBAgIUXNFVcH1uETrmWODAV3qsAmBipj8wCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyODEwMDI1OVoYDzIxMjYxMTA0MTAwMjU5WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASZeSXP+kSa4qZf6ieZ3qgJX8ilt7DBthX8UD8/ZRLiYy2SE5seVt13lLPj8lHHJeKD704sdAormtBdWLoPIBa8o2QwYjAdBgNVHQ4EFgQUXZ88LdMnfqZJV97TWQkUxD6sqcowHwYDVR0jBBgwFoAUXZ88LdMnfqZJV97TWQkUxD6sqcowDwYDVR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0cAMEQCIG8w2SU52rwZOcQK76jwSG8X11CL8EndiEZK4CWmLqmyAiBI8J7/H9XXsqMY9euI2mUFWi78AJ5aeLtPB/8tcacuMg==";

impl<A: Ask> Rows<A> {
    /// U1. A connection that was not made is tried once more: the request cannot have begun.
    pub(crate) async fn check_refused(&self) {
        let (stand, gone, expected) = (Stand::new().await, Upstream::gone(), unreachable("upstream_unreachable"));
        for &form in self.forms {
            self.check_at(&stand, &gone.url, "u1, refused", form, expected, &[]).await;
            // A reset in the TLS handshake.
            let server = FaultServer::start(vec![vec![Step::Reset]]).await.unwrap();
            let (_, sent) = self.check_at(&stand, &https(&server), "u1, reset", form, expected, &[]).await;
            assert_eq!(server.connections(), 2 * sent, "{form:?}");
        }
    }

    /// U2. A label of a host name has at most 63 bytes, so no server is asked.
    pub(crate) async fn check_unknown_host(&self) {
        let (stand, url) = (Stand::new().await, format!("https://{}.invalid", "x".repeat(64)));
        for &form in self.forms {
            self.check_at(&stand, &url, "u2", form, unreachable("upstream_unreachable"), &[]).await;
        }
    }

    /// U3. No request is sent in plain text.
    pub(crate) async fn check_tls(&self) {
        let (stand, expected) = (Stand::new().await, unreachable("upstream_tls").with_alarm());
        let plain = Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        for (name, answer) in [("plain HTTP", plain), ("untrusted certificate", server_hello())] {
            for &form in self.forms {
                let script = vec![Step::Write(answer.clone()), Step::Request, Step::Stall];
                let server = FaultServer::start(vec![script]).await.unwrap();
                let (log, _) =
                    self.check_at(&stand, &https(&server), &format!("u3, {name}"), form, expected, &[]).await;
                assert!(server.requests().is_empty(), "{name} {form:?}: a request in plain text");
                let cause = if name == "plain HTTP" { "corrupt message" } else { "certificate" };
                assert!(log.contains(cause), "{name} {form:?}: {log}");
            }
        }
    }

    /// U4. The packets of a new connection are dropped, or the TLS handshake does not end.
    pub(crate) async fn check_black_hole(&self) {
        let expected = failed(504, "upstream_timeout", "upstream_connect_timeout").refunded();
        let (stand, hole) = (Stand::new().await, BlackHole::open().await);
        let stalled = FaultServer::start(vec![vec![Step::Stall]]).await.unwrap();
        for &form in self.forms {
            for (name, url) in [("dropped", format!("http://{}", hole.address)), ("no TLS", https(&stalled))] {
                self.check_at(&stand, &url, &format!("u4, {name}"), form, expected, &[]).await;
            }
        }
    }
}

/// U45. An upstream that would answer a second request on a connection. One that froze together with the function fails when
/// it is used again, so every call has its own.
pub(crate) async fn keeps_connections() -> FaultServer {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let once = [Step::Request, Step::Write(BUSY.into())];
    FaultServer::start(vec![[&once[..], &once, &[Step::Stall]].concat()]).await.unwrap()
}

const fn unreachable(class: &'static str) -> Expected {
    failed(502, "upstream_unreachable", class).refunded().retry_after(2)
}

fn https(server: &FaultServer) -> String {
    format!("https://{}", server.address())
}

/// A listener whose queue is full: the system drops the packets of further clients.
struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    async fn open() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(client) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(client.unwrap());
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

/// The first answer of a TLS 1.2 server, with the certificate. Its signature is not valid, which is checked later.
fn server_hello() -> Bytes {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes()[1..].to_vec();
    let message = |kind: u8, body: &[u8]| [&[kind][..], &length(body.len()), body].concat();
    let certificate = STANDARD.decode(SELF_SIGNED).unwrap();
    let listed = [length(certificate.len()), certificate].concat();
    let messages = [
        // Version, random, no session, ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression, no extensions.
        message(2, &[&[3, 3][..], &[7; 32], &[0, 0xc0, 0x2b, 0]].concat()),
        message(11, &[length(listed.len()), listed].concat()),
        // A named curve, x25519, its key, ecdsa_secp256r1_sha256, a signature.
        message(12, &[&[3, 0, 29, 32][..], &[9; 32], &[4, 3, 0, 8], &[1; 8]].concat()),
        message(14, &[]),
    ];
    let messages = messages.concat();
    [&[22, 3, 3][..], &length(messages.len())[1..], &messages].concat().into()
}
