//! A TCP server that plays a script on each connection, to break it at any byte.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What is done on a connection, step by step. After the last one the connection is closed.
pub type Script = Vec<Step>;

/// One step of a [`Script`].
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads an HTTP request, with a body of the length that its head states.
    Request,
    /// Writes bytes.
    Write(Bytes),
    /// Writes bytes again and again, with a pause behind each time.
    Repeat {
        /// The bytes of one time.
        bytes: Bytes,
        /// How often.
        times: u32,
        /// The pause.
        pause: Duration,
    },
    /// Writes bytes one by one, with a pause behind each.
    Drip(Bytes, Duration),
    /// Does nothing for a time.
    Sleep(Duration),
    /// Ends the connection with RST. Bytes that the client has not read yet may be lost.
    Reset,
    /// Ends the connection with FIN.
    Close,
    /// Does nothing until the client closes the connection.
    Stall,
}

/// A server on a free port of 127.0.0.1. It ends when dropped.
#[derive(Debug)]
pub struct FaultServer {
    address: SocketAddr,
    seen: Seen,
    _server: JoinSet<()>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    connections: Arc<AtomicU32>,
    open: Arc<AtomicU32>,
    requests: Arc<Mutex<Vec<Bytes>>>,
}

impl FaultServer {
    /// Plays `scripts` on the connections, in their order. Further connections get the last one.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(scripts: Vec<Script>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, seen) = (listener.local_addr()?, Seen::default());
        let (mut server, counted) = (JoinSet::new(), seen.clone());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let nth = counted.connections.fetch_add(1, Ordering::SeqCst) as usize;
                let script = scripts.get(nth).or(scripts.last()).cloned().unwrap_or_default();
                let seen = counted.clone();
                seen.open.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    // A client that has closed the connection ends the script.
                    let _ = play_noting(socket, script, Some(&seen.requests)).await;
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, seen, _server: server })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub fn connections(&self) -> u32 {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Connections that neither side has closed.
    pub fn open(&self) -> u32 {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// The heads and bodies of the requests that scripts have read.
    pub fn requests(&self) -> Vec<Bytes> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Plays a script on a connection.
///
/// # Errors
/// If the client closes the connection while it is read or written.
pub async fn play(socket: TcpStream, script: Script) -> io::Result<()> {
    play_noting(socket, script, None).await
}

async fn play_noting(mut socket: TcpStream, script: Script, requests: Option<&Mutex<Vec<Bytes>>>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut received = BytesMut::new();
    for step in script {
        match step {
            Step::Request => {
                let request = read_request(&mut socket, &mut received).await?;
                if let Some(requests) = requests {
                    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                }
            }
            Step::Write(bytes) => socket.write_all(&bytes).await?,
            Step::Repeat { bytes, times, pause } => {
                for _ in 0..times {
                    socket.write_all(&bytes).await?;
                    sleep(pause).await;
                }
            }
            Step::Drip(bytes, pause) => {
                for byte in bytes.chunks(1) {
                    socket.write_all(byte).await?;
                    sleep(pause).await;
                }
            }
            Step::Sleep(duration) => sleep(duration).await,
            Step::Reset => return socket.set_zero_linger(),
            Step::Close => break,
            Step::Stall => while socket.read_buf(&mut received).await? > 0 {},
        }
    }
    // The rest of what the client sends is read, because closing a socket with unread bytes is a reset.
    socket.shutdown().await?;
    while socket.read_buf(&mut received).await? > 0 {
        received.clear();
    }
    Ok(())
}

/// Takes a request from the beginning of what was received.
async fn read_request(socket: &mut TcpStream, received: &mut BytesMut) -> io::Result<Bytes> {
    loop {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        let length = end.map(|end| end + body_bytes(&received[..end]));
        if let Some(length) = length.filter(|length| *length <= received.remaining()) {
            return Ok(received.split_to(length).freeze());
        }
        if socket.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn body_bytes(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client reads until the end, and how that was.
    async fn read(server: &FaultServer, request: &[u8]) -> (String, Option<io::ErrorKind>) {
        let mut socket = TcpStream::connect(server.address()).await.unwrap();
        let _ = socket.write_all(request).await;
        let mut text = String::new();
        let error = socket.read_to_string(&mut text).await.err().map(|error| error.kind());
        (text, error)
    }

    #[tokio::test]
    async fn a_script_decides_each_byte_and_how_the_connection_ends() {
        let write = |text: &'static str| Step::Write(Bytes::from_static(text.as_bytes()));
        let pause = Duration::from_millis(1);
        let scripts = vec![
            vec![write("abc"), Step::Close, write("never")],
            vec![write("abc"), Step::Sleep(Duration::from_millis(50)), Step::Reset],
            vec![Step::Reset],
            vec![Step::Request, Step::Repeat { bytes: "ab".into(), times: 3, pause }, Step::Drip("cd".into(), pause)],
        ];
        let server = FaultServer::start(scripts).await.unwrap();
        let request = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz";
        assert_eq!(read(&server, request).await, ("abc".into(), None));
        let (_, end) = read(&server, request).await;
        assert_eq!(end, Some(io::ErrorKind::ConnectionReset));
        assert_eq!(read(&server, b"").await.1, Some(io::ErrorKind::ConnectionReset));
        for _ in 0..2 {
            assert_eq!(read(&server, request).await, ("abababcd".into(), None));
        }
        assert_eq!((server.connections(), server.requests()), (5, vec![Bytes::from_static(request); 2]));
    }
}
