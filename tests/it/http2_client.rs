//! An HTTP/2 client: many requests on one connection, each of which can be read, left alone or taken back.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{Answer, Ask, Piece};

/// No single step takes longer.
const STEP_TIME: Duration = Duration::from_mins(1);
/// Bytes that a request may be sent before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for the connection: several requests that are not read must not stop the others.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// One connection.
pub struct Wire {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// One request on it, whose head has been answered.
pub struct Call {
    /// The head of the answer.
    pub head: Answer,
    body: RecvStream,
    out: SendStream<Bytes>,
}

impl Wire {
    /// Speaks HTTP/2 from the first byte.
    pub async fn over<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new();
        builder.initial_window_size(STREAM_WINDOW);
        builder.initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = in_time(builder.handshake(stream)).await?;
        Ok(Self { sender, connection: tokio::spawn(connection) })
    }

    /// Sends a request and reads the head of its answer.
    pub async fn begin(&self, ask: &Ask) -> io::Result<Call> {
        let (method, path, headers, body) = ask.parts();
        let uri = format!("http://gateway.test{path}");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(io::Error::other)?;
        let mut sender = in_time(self.sender.clone().ready()).await?;
        let (answer, mut out) =
            sender.send_request(request, body.is_empty()).map_err(io::Error::other)?;
        if !body.is_empty() {
            out.send_data(Bytes::copy_from_slice(body), true).map_err(io::Error::other)?;
        }
        let (head, body) = in_time(answer).await?.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        let (status, headers) = (head.status.as_u16(), headers.collect());
        Ok(Call { head: Answer { status, headers, body: Vec::new(), whole: true }, body, out })
    }

    /// Sends a request and reads its whole answer.
    pub async fn ask(&self, ask: &Ask) -> io::Result<Answer> {
        Ok(self.begin(ask).await?.rest().await)
    }

    /// How many requests the server takes at the same time.
    pub fn streams_max(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// Cuts the connection.
    pub fn cut(self) {
        self.connection.abort();
    }
}

impl Call {
    /// Reads what has come of the body.
    pub async fn piece(&mut self) -> Piece {
        match timeout(STEP_TIME, self.body.data()).await {
            Ok(Some(Ok(bytes))) => {
                // Without this the window fills up and the server stops.
                let _ = self.body.flow_control().release_capacity(bytes.len());
                Piece::Bytes(bytes.to_vec())
            }
            Ok(None) => Piece::End,
            Ok(Some(Err(_))) | Err(_) => Piece::Broken,
        }
    }

    /// Reads to the end.
    pub async fn rest(mut self) -> Answer {
        loop {
            match self.piece().await {
                Piece::Bytes(bytes) => self.head.body.extend(bytes),
                Piece::End => return self.head,
                Piece::Broken => {
                    self.head.whole = false;
                    return self.head;
                }
            }
        }
    }

    /// Takes the request back: this stream ends, the connection goes on.
    pub fn cancel(mut self) {
        self.out.send_reset(Reason::CANCEL);
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, h2::Error>>) -> io::Result<T> {
    let done = timeout(STEP_TIME, step).await;
    done.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)
}
