//! A provider that answers with given bytes, for what no mock would send; and the lines of a configuration
//! that lead to mocks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loadtest::upstream::server::{MockConfig, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A mock provider of that name.
pub async fn mock(name: &str) -> Upstream {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let config =
        MockConfig { name: name.to_owned(), fixtures_dir: Some(fixtures), ..MockConfig::default() };
    Upstream::start(config).await.unwrap()
}

/// The key of ours at that provider.
pub fn key_of(name: &str) -> String {
    format!("it-provider-key-of-{name}")
}

/// The configuration line of an `OpenAI` provider, with more keys in flow style.
pub fn openai(name: &str, address: SocketAddr, more: &str) -> String {
    let key = key_of(name);
    format!(
        "  {name}: {{dialect: openai, base_url: 'http://{address}/v1', api_key: {key}{more}}}\n"
    )
}

/// The configuration line of an Anthropic provider.
pub fn anthropic(name: &str, address: SocketAddr, more: &str) -> String {
    let key = key_of(name);
    format!(
        "  {name}: {{dialect: anthropic, base_url: 'http://{address}', api_key: {key}{more}}}\n"
    )
}

/// A provider whose every answer is the same bytes, after which it closes.
pub struct Canned {
    /// Where it listens.
    pub address: SocketAddr,
    count: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Canned {
    /// Answers every request with those bytes.
    pub async fn start(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start_with(bytes, true).await
    }

    /// Answers as soon as the first bytes of a request are there, and reads no more.
    pub async fn start_hasty(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start_with(bytes, false).await
    }

    async fn start_with(bytes: impl Into<Vec<u8>>, reads: bool) -> Self {
        let bytes: Arc<[u8]> = bytes.into().into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (bytes, counted) = (Arc::clone(&bytes), Arc::clone(&counted));
                tokio::spawn(async move {
                    let asked = if reads {
                        read_request(&mut stream).await.is_some()
                    } else {
                        stream.readable().await.is_ok()
                    };
                    if asked {
                        counted.fetch_add(1, Ordering::Relaxed);
                        let _ = stream.write_all(&bytes).await;
                    }
                });
            }
        });
        Self { address, count, serving }
    }

    /// A JSON answer with a length.
    pub async fn json(status: &str, headers: &str, body: &[u8]) -> Self {
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        Self::start(bytes).await
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A provider for one request: it writes what the test sends, and closes when the sender is dropped.
pub async fn scripted() -> (SocketAddr, mpsc::UnboundedSender<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut script) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        if read_request(&mut stream).await.is_none() {
            return;
        }
        while let Some(bytes) = script.recv().await {
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    (address, sender)
}

/// Reads one request with a content length: its head and its body; `None` if none came.
pub async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if let Some(head) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&seen[..head]).into_owned();
            let lower = text.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if seen.len() >= head + 4 + length {
                return Some((text, seen.split_off(head + 4)));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => seen.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
