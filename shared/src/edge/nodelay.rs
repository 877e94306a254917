use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use socket2::SockRef;

/// The platform's end of our connections, as `AWS_LAMBDA_RUNTIME_API` names it (`127.0.0.1:9001`, or a URL at home).
///
/// The runtime leaves Nagle's algorithm on and offers no way to turn it off: the first event of a stream then waits
/// for the acknowledgement of the prelude, which the other side may put off by 40 ms.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeApi {
    port: Option<u16>,
}

impl RuntimeApi {
    /// Reads the variable; without one there is nothing to do.
    pub fn new(address: Option<&str>) -> Self {
        let authority = |address: &str| {
            let address = address.split_once("://").map_or(address, |(_, rest)| rest);
            address.split('/').next().unwrap_or_default().rsplit_once(':')?.1.parse().ok()
        };
        Self { port: address.and_then(authority) }
    }

    /// Lets small writes on the connections that are open now leave at once (`TCP_NODELAY`).
    ///
    /// To be called at the start of an invocation: the event has come over the connection that the response will take.
    /// Where it cannot be done, the stream is late and nothing else.
    pub fn send_at_once(self) {
        let Some(port) = self.port else { return };
        let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return };
        let numbers = descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers.for_each(|fd| set_nodelay(fd, port));
    }
}

#[expect(unsafe_code, reason = "the safe way, pidfd_getfd, is a debugger's call, and Lambda refuses those")]
fn set_nodelay(fd: RawFd, port: u16) {
    // SAFETY: the number was open a moment ago, so it is not -1, and the borrow ends before this returns. Another
    // thread may have closed it, or reused it for something else; all that is done here is to ask for a peer's
    // address and to set an option that never changes what is sent. Nothing is read, written or closed.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&borrowed);
    let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
    if peer.as_ref().map(SocketAddr::port) == Some(port) {
        let _ = socket.set_tcp_nodelay(true);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_connections_to_the_runtime_are_changed() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (runtime, other) = (listener(), listener());
        let address = runtime.local_addr().unwrap();
        let ours = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        let theirs = TcpStream::connect(other.local_addr().unwrap()).unwrap();
        RuntimeApi::new(Some(&address.to_string())).send_at_once();
        assert!(ours.iter().all(|stream| stream.nodelay().unwrap()));
        assert!(!theirs.nodelay().unwrap());
    }

    #[test]
    fn the_address_is_read_in_every_form_that_platforms_use() {
        let port = |address| RuntimeApi::new(address).port;
        assert_eq!(port(Some("127.0.0.1:9001")), Some(9001));
        assert_eq!(port(Some("[::1]:9001")), Some(9001));
        assert_eq!(port(Some("http://127.0.0.1:9000/.rt/generate-stream")), Some(9000));
        assert_eq!(port(Some("sandbox.localdomain")), None);
        assert_eq!(port(None), None);
    }
}
