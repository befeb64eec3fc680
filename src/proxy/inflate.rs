//! Undoes the content encoding of an answer, although we asked for none, within a bound.
//!
//! Pingora's own decompression unpacks a whole read at once, so that 64 KiB of zeros from a hostile
//! provider would take 140 MiB. Here each piece may grow to a bound and no further.

use std::io::{self, Write};

use bytes::Bytes;

use crate::base::limit::INFLATED_BYTES_MAX;

/// The decoder of one answer.
pub enum Inflate {
    /// `gzip`.
    Gzip(Box<flate2::write::MultiGzDecoder<Bounded>>),
    /// `zstd`.
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded>>),
}

/// Takes what comes out of a piece of input, up to the bound.
#[derive(Debug, Default)]
pub struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > INFLATED_BYTES_MAX {
            return Err(io::Error::other("the answer unpacks to more than is allowed"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inflate {
    /// The decoder for a value of `content-encoding`; nothing to undo is `None`.
    ///
    /// # Errors
    /// An encoding that we do not undo. We asked for none at all.
    pub fn of(encoding: &[u8]) -> io::Result<Option<Self>> {
        match encoding.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(None),
            b"gzip" | b"x-gzip" => {
                let decoder = flate2::write::MultiGzDecoder::new(Bounded::default());
                Ok(Some(Self::Gzip(Box::new(decoder))))
            }
            b"zstd" => {
                let decoder = zstd::stream::write::Decoder::new(Bounded::default())?;
                Ok(Some(Self::Zstd(Box::new(decoder))))
            }
            _ => Err(io::Error::other("the answer has an encoding that was not asked for")),
        }
    }

    /// Undoes a piece; `end` when it is the last one.
    ///
    /// # Errors
    /// What came is not what the encoding says, or unpacks to more than the bound.
    pub fn feed(&mut self, chunk: &[u8], end: bool) -> io::Result<Bytes> {
        let out = match self {
            Self::Gzip(decoder) => {
                decoder.write_all(chunk)?;
                if end {
                    decoder.try_finish()?;
                } else {
                    decoder.flush()?;
                }
                decoder.get_mut()
            }
            Self::Zstd(decoder) => {
                decoder.write_all(chunk)?;
                decoder.flush()?;
                decoder.get_mut()
            }
        };
        Ok(Bytes::from(std::mem::take(&mut out.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_answer_in_any_pieces_comes_out_whole() {
        let text = "data: one\n\ndata: two\n\n".repeat(500);
        for packed in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 3).unwrap()] {
            let name: &[u8] = if packed.starts_with(&[0x1f, 0x8b]) { b"gzip" } else { b"zstd" };
            let mut inflate = Inflate::of(name).unwrap().unwrap();
            let mut out = Vec::new();
            for piece in packed.chunks(7) {
                out.extend_from_slice(&inflate.feed(piece, false).unwrap());
            }
            out.extend_from_slice(&inflate.feed(b"", true).unwrap());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn a_bomb_and_nonsense_are_errors() {
        let zeros = vec![0; 4 * INFLATED_BYTES_MAX];
        assert!(Inflate::of(b"gzip").unwrap().unwrap().feed(&gzip(&zeros), true).is_err());
        let packed = zstd::encode_all(&zeros[..], 3).unwrap();
        assert!(Inflate::of(b"zstd").unwrap().unwrap().feed(&packed, true).is_err());
        assert!(Inflate::of(b"gzip").unwrap().unwrap().feed(b"nonsense", true).is_err());
        assert!(Inflate::of(b"br").is_err());
        assert!(Inflate::of(b"identity").unwrap().is_none());
    }
}
