//! A TCP relay that acknowledges each segment at once.
//!
//! The Rust runtime leaves Nagle's algorithm on, so a small write of a function can wait for the acknowledgement of the
//! one before it, which Linux delays by up to 40 ms.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A relay to one address. It ends when dropped.
pub(crate) struct AcknowledgingRelay {
    pub(crate) address: SocketAddr,
    _server: JoinSet<()>,
}

impl AcknowledgingRelay {
    pub(crate) async fn start(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, mut server) = (listener.local_addr()?, JoinSet::new());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connect(client, to));
            }
        });
        Ok(Self { address, _server: server })
    }
}

/// An error ends both directions, as it does without a relay.
async fn connect(client: TcpStream, to: SocketAddr) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let _ = tokio::try_join!(copy(from_client, to_server), copy(from_server, to_client));
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        // Linux clears the option by itself.
        from.as_ref().set_quickack(true)?;
        match count {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}
