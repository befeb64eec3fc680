//! A plain HTTP/1.1 client: what is sent can be anything, what comes back is shown piece by piece, and a
//! body that breaks off is told from one that ends.
//!
//! It shares no code with the gateway nor with the mock.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::gateway::AGENT_KEY;

/// No single answer takes longer.
const ANSWER_TIME: Duration = Duration::from_mins(1);
/// Bytes of a receive buffer that is meant to fill up quickly.
const SMALL_BUFFER: u32 = 16 * 1024;

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of a chunk; none = with a content length.
    chunk: Option<usize>,
}

impl Ask {
    /// A request without key and body.
    pub fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers: Vec::new(), body: Vec::new(), chunk: None }
    }

    /// A JSON request with the agent key.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", path).bearer(AGENT_KEY).body(body)
    }

    /// A GET with the agent key.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path).bearer(AGENT_KEY)
    }

    /// A chat request with that model and a short prompt.
    pub fn chat(model: &str, stream: bool) -> Self {
        Self::post("/v1/chat/completions", chat_body(model, stream))
    }

    /// A Messages request with that model and a short prompt.
    pub fn messages(model: &str, stream: bool) -> Self {
        let body = format!(
            r#"{{"model":"{model}","max_tokens":64,"stream":{stream},"messages":[{{"role":"user","content":"hello"}}]}}"#
        );
        Self::post("/v1/messages", body).header("anthropic-version", "2023-06-01")
    }

    /// A Responses request with that model and a short prompt.
    pub fn responses(model: &str, stream: bool) -> Self {
        let body = format!(r#"{{"model":"{model}","stream":{stream},"input":"hello"}}"#);
        Self::post("/v1/responses", body)
    }

    /// Sets the method.
    #[must_use]
    pub fn with_method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Sets the body, with a JSON content type.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.set("content-type", "application/json")
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a header in place of all of that name.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// Takes a header away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn bearer(self, key: &str) -> Self {
        self.set("authorization", &format!("Bearer {key}"))
    }

    /// Sends the body in chunks of that size.
    #[must_use]
    pub fn chunked(mut self, size: usize) -> Self {
        self.chunk = Some(size);
        self
    }

    /// Method, path, headers and body, for another protocol.
    pub fn parts(&self) -> (&str, &str, &[(String, String)], &[u8]) {
        (&self.method, &self.path, &self.headers, &self.body)
    }

    /// The bytes of the request.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        if !self.headers.iter().any(|(name, _)| name == "host") {
            out.extend_from_slice(b"host: gateway.test\r\n");
        }
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let Some(size) = self.chunk else {
            if !self.body.is_empty() || self.method == "POST" {
                out.extend_from_slice(
                    format!("content-length: {}\r\n", self.body.len()).as_bytes(),
                );
            }
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(&self.body);
            return out;
        };
        out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        for chunk in self.body.chunks(size) {
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    }
}

/// A chat body with a short prompt.
pub fn chat_body(model: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"hello"}}]}}"#
    )
}

/// A whole answer, or what came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, as far as it came.
    pub body: Vec<u8>,
    /// Whether the body came to its end as announced.
    pub whole: bool,
}

impl Answer {
    /// The first value of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        find(&self.headers, name).unwrap_or_default()
    }

    /// Whether a header is there.
    pub fn has(&self, name: &str) -> bool {
        find(&self.headers, name).is_some()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The code of an error in `OpenAI`'s shape, after a look at the shape itself.
    pub fn openai_code(&self) -> String {
        let error = &self.json()["error"];
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "no {key}: {}", self.text());
        }
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text());
        assert!(error["type"].is_string() && self.header("content-type") == "application/json");
        error["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The `error.type` of an error in Anthropic's shape, after a look at the shape itself.
    pub fn anthropic_type(&self) -> String {
        let json = self.json();
        assert_eq!(json["type"], "error", "{json}");
        assert!(json["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
        json["error"]["type"].as_str().unwrap().to_owned()
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// How the body of an answer is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Over,
}

/// A piece of an answer's body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The body is complete.
    End,
    /// The connection ended inside the body.
    Broken,
}

/// One connection.
pub struct Line<S = TcpStream> {
    stream: BufReader<S>,
    framing: Framing,
}

impl Line {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    /// Connects with a small receive buffer, so that not reading is felt by the other side soon.
    pub async fn open_narrow(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        Self::over(socket.connect(address).await?)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::on(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Speaks over a connection that is open already.
    pub fn on(stream: S) -> Self {
        Self { stream: BufReader::with_capacity(8 * 1024, stream), framing: Framing::Over }
    }

    /// Sends bytes as they are. A peer that does not take them all has something to say: read on.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(ANSWER_TIME, self.stream.write_all(bytes)).await;
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Sends a request and reads its whole answer.
    pub async fn ask(&mut self, ask: &Ask) -> io::Result<Answer> {
        self.send(&ask.to_bytes()).await;
        self.answer().await
    }

    /// Sends a request and reads the head of its answer.
    pub async fn begin(&mut self, ask: &Ask) -> io::Result<Answer> {
        self.send(&ask.to_bytes()).await;
        self.head().await
    }

    /// Reads a whole answer.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head().await?;
        Ok(self.rest(head).await)
    }

    /// Reads the rest of an answer whose head has been read.
    pub async fn rest(&mut self, mut answer: Answer) -> Answer {
        loop {
            match self.piece().await {
                Piece::Bytes(bytes) => answer.body.extend_from_slice(&bytes),
                Piece::End => break,
                Piece::Broken => {
                    answer.whole = false;
                    break;
                }
            }
        }
        answer
    }

    /// Reads the head of an answer; informational ones are passed over.
    pub async fn head(&mut self) -> io::Result<Answer> {
        loop {
            let head = timeout(ANSWER_TIME, self.one_head()).await;
            let head = head.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if head.status >= 200 {
                return Ok(head);
            }
        }
    }

    async fn one_head(&mut self) -> io::Result<Answer> {
        let first = self.text_line().await?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.text_line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| io::Error::other(line.clone()))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let chunked = find(&headers, "transfer-encoding") == Some("chunked");
        let length = find(&headers, "content-length").and_then(|length| length.parse().ok());
        self.framing = match (chunked, length) {
            _ if status < 200 || status == 204 || status == 304 => Framing::Over,
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        };
        Ok(Answer { status, headers, body: Vec::new(), whole: true })
    }

    /// Says that the answer to come has no body, since `HEAD` was asked.
    pub fn expect_no_body(&mut self) {
        self.framing = Framing::Over;
    }

    /// Reads the next piece of the body: one chunk, or whatever has come.
    pub async fn piece(&mut self) -> Piece {
        let read = timeout(ANSWER_TIME, self.read_piece()).await;
        let piece = read.map_or(Piece::Broken, |read| read.unwrap_or(Piece::Broken));
        if piece == Piece::End {
            self.framing = Framing::Over;
        }
        piece
    }

    async fn read_piece(&mut self) -> io::Result<Piece> {
        match self.framing {
            Framing::Over | Framing::Length(0) => Ok(Piece::End),
            Framing::Length(left) => {
                let bytes = self.some(left).await?;
                if bytes.is_empty() {
                    return Ok(Piece::Broken);
                }
                self.framing = Framing::Length(left - bytes.len());
                Ok(Piece::Bytes(bytes))
            }
            Framing::UntilClose => {
                let bytes = self.some(usize::MAX).await?;
                Ok(if bytes.is_empty() { Piece::End } else { Piece::Bytes(bytes) })
            }
            Framing::Chunked => self.chunk().await,
        }
    }

    async fn chunk(&mut self) -> io::Result<Piece> {
        let size = self.text_line().await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
        let size = size.map_err(io::Error::other)?;
        if size == 0 {
            while !self.text_line().await?.is_empty() {}
            return Ok(Piece::End);
        }
        let mut bytes = vec![0; size + 2];
        self.stream.read_exact(&mut bytes).await?;
        assert!(bytes.ends_with(b"\r\n"), "a chunk does not end where it says");
        bytes.truncate(size);
        Ok(Piece::Bytes(bytes))
    }

    async fn some(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let ready = self.stream.fill_buf().await?;
        let bytes = ready[..ready.len().min(max)].to_vec();
        self.stream.consume(bytes.len());
        Ok(bytes)
    }

    async fn text_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\r\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Waits until the other side closes, and returns what it sent before.
    pub async fn until_closed(&mut self, bound: Duration) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        match timeout(bound, self.stream.read_to_end(&mut bytes)).await {
            Err(_) => None,
            // A reset closes as well.
            Ok(_) => Some(bytes),
        }
    }
}
