//! Serves a router on a socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves `router` on `listener` until the process ends.
///
/// A handler can ask for the client's address with `ConnectInfo`. Sets `TCP_NODELAY`: with Nagle's algorithm an event would wait for the acknowledgement of the previous one.
///
/// # Errors
/// None today: a failed connection is dropped, and the next one is accepted.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let listener = listener.tap_io(|socket| {
        // This fails on a closed socket, and so does the read that follows.
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// A router that listens on a free port of 127.0.0.1. It ends when dropped.
#[derive(Debug)]
pub struct RunningServer {
    /// The address that it listens on.
    pub address: SocketAddr,
    _server: JoinSet<io::Result<()>>,
}

impl RunningServer {
    /// `http://127.0.0.1:<port>` followed by `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Starts `router` on a free port of 127.0.0.1, for a test.
///
/// # Errors
/// If no port can be opened.
pub async fn start(router: Router) -> io::Result<RunningServer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let mut server = JoinSet::new();
    server.spawn(serve(listener, router));
    Ok(RunningServer { address, _server: server })
}
