//! Reads a request's body: whole, within its limit and its deadline, decoded.
//!
//! Nothing goes upstream before the body is complete, so a client that breaks off, drips or lies
//! about its length costs no attempt. Bodies are never inspected here.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora_core::protocols::http::ServerSession;

use crate::base::fault::{Code, Fault};
use crate::base::limit::{BODY_MS_MAX, BODY_RESERVE_MAX};

/// How a body may be encoded on its way to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Reads and decodes the body of a request.
///
/// # Errors
/// `unsupported_encoding` before anything is read; `body_too_large` as soon as the announced or the
/// counted length passes `bytes_max` (before or after decoding); `request_timeout` at the deadline;
/// `invalid_request` when the client broke off or the encoding is broken.
pub async fn read_body(session: &mut ServerSession, bytes_max: usize) -> Result<Bytes, Fault> {
    let encoding = encoding_of(session)?;
    let announced = announced_length(session)?;
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    if session.is_body_done() {
        return Ok(Bytes::new());
    }
    expect_continue(session).await?;
    let reading = read_raw(session, announced, bytes_max);
    // Most bodies are here already: the clock is set only where one has to be waited for.
    let late = async { tokio::time::sleep(Duration::from_millis(BODY_MS_MAX)).await };
    let raw = tokio::select! {
        biased;
        raw = reading => raw?,
        () = late => {
            return Err(Fault::new(
                Code::RequestTimeout,
                "the request body did not arrive in time",
            ));
        }
    };
    decode(raw, encoding, bytes_max)
}

async fn read_raw(
    session: &mut ServerSession,
    announced: Option<usize>,
    bytes_max: usize,
) -> Result<Bytes, Fault> {
    // A body that comes in one read is passed on as it is, without a copy.
    let first = next_chunk(session).await?;
    let Some(first) = first else { return Ok(Bytes::new()) };
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut body = BytesMut::with_capacity(announced.unwrap_or(0).min(BODY_RESERVE_MAX));
    body.extend_from_slice(&first);
    while let Some(chunk) = next_chunk(session).await? {
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    if body.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(body.freeze())
}

async fn next_chunk(session: &mut ServerSession) -> Result<Option<Bytes>, Fault> {
    session.read_request_body().await.map_err(|_| {
        Fault::new(Code::InvalidRequest, "the request body broke off or is wrongly framed")
    })
}

async fn expect_continue(session: &mut ServerSession) -> Result<(), Fault> {
    let expects = session
        .get_header(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !expects {
        return Ok(());
    }
    // The whole body is read before any answer begins, so the connection can be kept.
    session.set_close_on_response_before_downstream_finish(false);
    session
        .write_continue_response()
        .await
        .map_err(|_| Fault::new(Code::InvalidRequest, "the connection broke off"))
}

fn encoding_of(session: &ServerSession) -> Result<Encoding, Fault> {
    let mut values = session.req_header().headers.get_all(http::header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(Encoding::Identity) };
    let unsupported = || {
        let message = "request bodies may be sent as identity, gzip or zstd, once";
        Fault::new(Code::UnsupportedEncoding, message).param("Content-Encoding")
    };
    if values.next().is_some() {
        return Err(unsupported());
    }
    match value.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(Encoding::Identity),
        b"gzip" | b"x-gzip" => Ok(Encoding::Gzip),
        b"zstd" => Ok(Encoding::Zstd),
        _ => Err(unsupported()),
    }
}

fn announced_length(session: &ServerSession) -> Result<Option<usize>, Fault> {
    let Some(value) = session.get_header(http::header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Fault::new(Code::InvalidRequest, "is not one decimal number").param("Content-Length")
    })
}

fn decode(raw: Bytes, encoding: Encoding, bytes_max: usize) -> Result<Bytes, Fault> {
    match encoding {
        Encoding::Identity => Ok(raw),
        Encoding::Gzip => inflate(flate2::read::MultiGzDecoder::new(&raw[..]), bytes_max),
        Encoding::Zstd => match zstd::stream::read::Decoder::new(&raw[..]) {
            Ok(decoder) => inflate(decoder, bytes_max),
            Err(_) => Err(broken_encoding()),
        },
    }
}

/// Reads one byte more than allowed, so that a bomb ends at the limit.
fn inflate(decoder: impl Read, bytes_max: usize) -> Result<Bytes, Fault> {
    let mut body = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut body).map_err(|_| broken_encoding())?;
    if body.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(Bytes::from(body))
}

fn broken_encoding() -> Fault {
    Fault::new(Code::InvalidRequest, "the body is not what its content encoding says")
        .param("Content-Encoding")
}

fn too_large(bytes_max: usize) -> Fault {
    Fault::new(Code::BodyTooLarge, format!("the request body is larger than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        Bytes::from(encoder.finish().unwrap())
    }

    #[test]
    fn both_encodings_are_undone() {
        assert_eq!(decode(gzip(b"{}"), Encoding::Gzip, 10).unwrap(), "{}");
        let packed = Bytes::from(zstd::encode_all(&b"{}"[..], 3).unwrap());
        assert_eq!(decode(packed, Encoding::Zstd, 10).unwrap(), "{}");
    }

    #[test]
    fn a_bomb_ends_at_the_limit_and_nonsense_is_named() {
        let bomb = gzip(&vec![b' '; 10_000_000]);
        assert_eq!(decode(bomb, Encoding::Gzip, 1_000).unwrap_err().code, Code::BodyTooLarge);
        let bomb = Bytes::from(zstd::encode_all(&vec![b' '; 10_000_000][..], 3).unwrap());
        assert_eq!(decode(bomb, Encoding::Zstd, 1_000).unwrap_err().code, Code::BodyTooLarge);
        let broken = decode(Bytes::from_static(b"nonsense"), Encoding::Gzip, 10).unwrap_err();
        assert_eq!(
            (broken.code, broken.param.as_deref()),
            (Code::InvalidRequest, Some("Content-Encoding"))
        );
    }
}
