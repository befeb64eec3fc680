//! Bounds on connections to the control API: how many there are, and how long one may keep us waiting.
//!
//! The HTTP library below has no total deadlines, so they are kept here, where it reads and writes: a
//! client that gets no byte for `ADMIN_SILENCE_MS_MAX`, because it sends its request drop by drop, does
//! not read its answer or asks for nothing more, is cut off. It knows nothing of HTTP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::base::limit::{ADMIN_CONNECTIONS_MAX, ADMIN_SILENCE_MS_MAX};

/// A listener with those bounds.
pub struct Bounded {
    inner: TcpListener,
    free: Arc<Semaphore>,
    silence: Duration,
}

impl Bounded {
    /// The bounds of the control API.
    pub fn new(inner: TcpListener) -> Self {
        Self::with_bounds(inner, ADMIN_CONNECTIONS_MAX, Duration::from_millis(ADMIN_SILENCE_MS_MAX))
    }

    fn with_bounds(inner: TcpListener, connections: usize, silence: Duration) -> Self {
        Self { inner, free: Arc::new(Semaphore::new(connections)), silence }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let permit = self.free.clone().acquire_owned().await;
            // The trait's own method waits out a lack of file descriptors.
            let (stream, peer) = Listener::accept(&mut self.inner).await;
            // The semaphore is never closed, so there is always a permit.
            if let Ok(permit) = permit {
                return (Connection::new(stream, permit, self.silence), peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection with a deadline that every byte sent puts off.
pub struct Connection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    silence: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit, silence: Duration) -> Self {
        Self { stream, deadline: Box::pin(sleep(silence)), silence, _permit: permit }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(1..)) = written {
            let later = Instant::now() + self.silence;
            self.deadline.as_mut().reset(later);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    /// Serves `ok` on a free port with those bounds until the runtime ends.
    async fn serve(connections: usize, silence_ms: u64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silence = Duration::from_millis(silence_ms);
        let bounded = Bounded::with_bounds(listener, connections, silence);
        tokio::spawn(async move {
            let router = Router::new().route("/", get(|| async { "ok" }));
            axum::serve(bounded, router).await
        });
        address
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_request_that_comes_drop_by_drop_is_cut_off() {
        let address = serve(4, 300).await;
        let mut client = Client::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let begun = Instant::now();
        let mut gone = false;
        for byte in b"GET / HTTP/1.1\r\nhost: a\r\n".iter().cycle() {
            let _ = client.write_all(&[*byte]);
            // Nothing yet, or the end.
            gone = matches!(client.read(&mut [0; 8]), Ok(0)) || begun.elapsed().as_secs() > 5;
            if gone {
                break;
            }
        }
        assert!(gone && begun.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_idle_connection_makes_room_for_the_next() {
        let address = serve(1, 300).await;
        let _idle = Client::connect(address).unwrap();
        let mut client = Client::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
