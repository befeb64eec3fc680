//! The socket under hyper, with two taps: bytes that replace the answer, and a TCP reset.
//!
//! hyper writes correct HTTP only; a broken provider does not. The service arms a [`Tap`], the
//! [`Socket`] acts on it. It knows nothing of requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What the service may ask of its own connection.
#[derive(Debug, Default)]
pub struct Tap {
    armed: AtomicBool,
    instead: Mutex<Option<Bytes>>,
    reset: AtomicBool,
}

impl Tap {
    /// The next write sends these bytes in place of the answer, then the connection closes.
    pub fn send_instead(&self, bytes: Bytes) {
        *self.instead.lock() = Some(bytes);
        self.armed.store(true, Ordering::Release);
    }

    /// The connection ends with a reset when it is dropped.
    pub fn reset_at_end(&self) {
        self.reset.store(true, Ordering::Release);
    }
}

/// A TCP stream that obeys a [`Tap`].
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    tap: Arc<Tap>,
    replacing: Option<Bytes>,
}

impl Socket {
    /// Puts the tap on the stream.
    pub fn new(stream: TcpStream, tap: Arc<Tap>) -> Self {
        Self { stream, tap, replacing: None }
    }

    /// Sends the replacement; ends in an error so that hyper gives the connection up.
    fn poll_replace(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.replacing.is_none() {
            self.replacing = Some(self.tap.instead.lock().take().unwrap_or_default());
        }
        while let Some(left) = self.replacing.as_mut().filter(|left| !left.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, left) {
                Poll::Ready(Ok(count)) => left.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => return Poll::Pending,
            }
        }
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(_) => Poll::Ready(io::ErrorKind::BrokenPipe.into()),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.tap.reset.load(Ordering::Acquire) {
            // Without it the peer sees an ordinary end, which is what the test did not ask for.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.tap.armed.load(Ordering::Acquire) {
            return self.poll_replace(cx).map(Err);
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.tap.armed.load(Ordering::Acquire) {
            return self.poll_replace(cx).map(Err);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
