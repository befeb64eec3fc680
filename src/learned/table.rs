//! The static table of an embedding as it lies in its file: a row of small numbers for each token of a
//! vocabulary.
//!
//! `conf/router/distill.py` makes such files and says how they are laid out. Where the bytes come from is the
//! caller's business; nothing here reads a file.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::learned::shape::Kinds;
use crate::learned::wordpiece::Vocabulary;

/// Dimensions of the embedding.
pub const DIMENSIONS: usize = 128;

/// The file begins with this.
const MAGIC: [u8; 8] = *b"WEIRTBL\0";
/// The layout that this program reads.
const VERSION: u32 = 1;
/// Magic, version, dimensions, rows, bytes of the vocabulary, digest.
const HEAD_BYTES: usize = 8 + 4 * 4 + 32;
/// Rows at most: tokens have sixteen bits.
const ROWS_MAX: usize = 1 << 16;

/// What a step of a dimension may be worth: vectors of such steps have a length that is a number.
const SCALES: RangeInclusive<f32> = 1e-9..=1e9;

/// Why a file is no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There are no bytes at all.
    #[error("the table is empty")]
    Empty,
    /// It is some other file.
    #[error("this is no table of an embedding: it does not begin with WEIRTBL")]
    Magic,
    /// Another layout.
    #[error("the table has version {found}, this program reads version {VERSION}")]
    Version {
        /// What the file says.
        found: u32,
    },
    /// Another number of dimensions.
    #[error("the table has {found} dimensions, this program reads {DIMENSIONS}")]
    Dimensions {
        /// What the file says.
        found: u32,
    },
    /// No rows, or more than tokens can name.
    #[error("the table has {found} rows, of 1 to {ROWS_MAX}")]
    Rows {
        /// What the file says.
        found: u32,
    },
    /// It ends too early, or too late.
    #[error(
        "the table has {found} bytes where its head announces {announced}: it is cut or was added to"
    )]
    Length {
        /// Bytes that the head speaks of, or that a head has.
        announced: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The content is not what was written.
    #[error("the content of the table is damaged: its SHA-256 is not the one in its head")]
    Digest,
    /// A scale that is no number, or out of its range.
    #[error("scale {at} of the table is not a number from 1e-9 to 1e9")]
    Scale {
        /// Which dimension.
        at: usize,
    },
    /// The vocabulary does not fit the rows.
    #[error("the vocabulary of the table is wrong at token {at}: {what}")]
    Vocabulary {
        /// Which token.
        at: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A row. Two lines of a cache, never three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Row(pub [i8; DIMENSIONS]);

/// A vocabulary, a row for each of its tokens, and what one step of each dimension is worth.
#[derive(Debug)]
pub struct Table {
    pub(super) vocabulary: Vocabulary,
    pub(super) kinds: Kinds,
    pub(super) rows: Box<[Row]>,
    pub(super) scales: [f32; DIMENSIONS],
    digest: [u8; 32],
}

/// What the head of a file says.
struct Head {
    rows: usize,
    digest: [u8; 32],
}

impl Table {
    /// Reads a file. Some 10 ms for 4 MB; the digest is checked before anything of the content is believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, TableError> {
        let (head, content) = head(bytes)?;
        if Sha256::digest(content)[..] != head.digest {
            return Err(TableError::Digest);
        }
        let (scales, content) = content.split_at(DIMENSIONS * 4);
        let (rows, texts) = content.split_at(head.rows * DIMENSIONS);
        let vocabulary = Vocabulary::new(&read_texts(texts, head.rows)?)?;
        Ok(Self {
            kinds: Kinds::new(&vocabulary),
            scales: read_scales(scales)?,
            rows: rows.as_chunks().0.iter().map(|row| Row(row.map(u8::cast_signed))).collect(),
            vocabulary,
            digest: head.digest,
        })
    }

    /// SHA-256 of the content: heads that were trained on this table name it.
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The vocabulary of its rows.
    pub const fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
}

/// The head, and a content that is as long as the head says.
fn head(bytes: &[u8]) -> Result<(Head, &[u8]), TableError> {
    if bytes.is_empty() {
        return Err(TableError::Empty);
    }
    let is_magic = bytes.iter().zip(&MAGIC).all(|(found, magic)| found == magic);
    if !is_magic {
        return Err(TableError::Magic);
    }
    let cut = TableError::Length { announced: HEAD_BYTES as u64, found: bytes.len() as u64 };
    let Some((head, content)) = bytes.split_at_checked(HEAD_BYTES) else { return Err(cut) };
    let (_, head) = head.split_at(MAGIC.len());
    let (numbers, digest) = head.split_at(16);
    let (numbers, _) = numbers.as_chunks();
    let &[version, dimensions, rows, vocabulary_bytes] = numbers else { return Err(cut) };
    let (version, dimensions) = (u32::from_le_bytes(version), u32::from_le_bytes(dimensions));
    let (found, vocabulary_bytes) =
        (u32::from_le_bytes(rows), u32::from_le_bytes(vocabulary_bytes));
    if version != VERSION {
        return Err(TableError::Version { found: version });
    }
    if dimensions as usize != DIMENSIONS {
        return Err(TableError::Dimensions { found: dimensions });
    }
    let rows = found as usize;
    if rows == 0 || rows > ROWS_MAX {
        return Err(TableError::Rows { found });
    }
    let announced = ((DIMENSIONS * 4 + rows * DIMENSIONS) as u64) + u64::from(vocabulary_bytes);
    if content.len() as u64 != announced {
        let head = HEAD_BYTES as u64;
        return Err(TableError::Length { announced: head + announced, found: bytes.len() as u64 });
    }
    let digest = digest.try_into().map_err(|_| TableError::Digest)?;
    Ok((Head { rows, digest }, content))
}

fn read_scales(bytes: &[u8]) -> Result<[f32; DIMENSIONS], TableError> {
    let mut scales = [0.0; DIMENSIONS];
    for (at, (scale, bytes)) in scales.iter_mut().zip(bytes.as_chunks().0).enumerate() {
        *scale = f32::from_le_bytes(*bytes);
        if !SCALES.contains(scale) {
            return Err(TableError::Scale { at });
        }
    }
    Ok(scales)
}

/// The texts of all tokens: for each its length, and itself.
fn read_texts(mut bytes: &[u8], rows: usize) -> Result<Vec<&str>, TableError> {
    let mut texts = Vec::with_capacity(rows);
    for at in 0..rows {
        let wrong = |what| TableError::Vocabulary { at, what };
        let (length, rest) = bytes.split_first().ok_or_else(|| wrong("there is none"))?;
        let (text, rest) =
            rest.split_at_checked(usize::from(*length)).ok_or_else(|| wrong("it is cut"))?;
        texts.push(std::str::from_utf8(text).map_err(|_| wrong("it is not UTF-8"))?);
        bytes = rest;
    }
    if bytes.is_empty() {
        return Ok(texts);
    }
    Err(TableError::Vocabulary { at: rows, what: "there are more tokens than rows" })
}

/// The texts of all tokens of a file, for tests.
#[cfg(test)]
pub(super) fn texts(bytes: &[u8]) -> Result<Vec<&str>, TableError> {
    let (head, content) = head(bytes)?;
    read_texts(content.split_at(DIMENSIONS * 4 + head.rows * DIMENSIONS).1, head.rows)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what was written is read")]
mod tests {
    use super::*;

    const FILE: &[u8] = include_bytes!("../../conf/router/embedding.bin");

    /// A file with three tokens, as `distill.py` packs it.
    fn small(texts: &[&str], scale: f32) -> Vec<u8> {
        let mut content: Vec<u8> = scale.to_le_bytes().repeat(DIMENSIONS);
        content.extend((0..texts.len() * DIMENSIONS).map(|at| u8::try_from(at % 256).unwrap()));
        let before = content.len();
        for text in texts {
            content.push(u8::try_from(text.len()).unwrap());
            content.extend(text.as_bytes());
        }
        let numbers = [1, DIMENSIONS, texts.len(), content.len() - before];
        let numbers = numbers.map(|number| u32::try_from(number).unwrap().to_le_bytes());
        let digest = Sha256::digest(&content);
        [&MAGIC[..], numbers.as_flattened(), &digest[..], &content].concat()
    }

    #[test]
    fn a_table_has_its_rows_scales_and_tokens() {
        let table = Table::parse(&small(&["[UNK]", "bread", "##s"], 0.5)).unwrap();
        assert_eq!(table.scales, [0.5; DIMENSIONS]);
        assert_eq!(table.rows.len(), 3);
        assert_eq!((table.rows[0].0[127], table.rows[1].0[0], table.rows[2].0[1]), (127, -128, 1));
        assert_eq!(table.vocabulary().find(b"s", true), Some(2));
    }

    #[test]
    fn the_table_that_ships_is_whole() {
        let table = Table::parse(FILE).unwrap();
        assert_eq!(table.rows.len(), 30_522);
        assert_eq!(table.digest()[..], FILE[24..56]);
        assert!(FILE.len() <= 4_200_000, "{} bytes", FILE.len());
    }

    /// The error of the small table after some of its bytes were set.
    fn error_with(at: usize, bytes: &[u8]) -> TableError {
        let mut file = small(&["[UNK]", "bread", "##s"], 0.5);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Table::parse(&file).unwrap_err()
    }

    #[test]
    fn every_error_has_its_name() {
        assert_eq!(Table::parse(b"").unwrap_err(), TableError::Empty);
        assert_eq!(Table::parse(b"\x7fELF").unwrap_err(), TableError::Magic);
        assert_eq!(error_with(7, b"1"), TableError::Magic);
        assert_eq!(error_with(8, &[2]), TableError::Version { found: 2 });
        assert_eq!(error_with(12, &[64]), TableError::Dimensions { found: 64 });
        assert_eq!(error_with(16, &[0]), TableError::Rows { found: 0 });
        let found = 0x0100_0003;
        assert_eq!(error_with(19, &[1]), TableError::Rows { found });
        assert!(matches!(error_with(16, &[4]), TableError::Length { .. }));
        assert_eq!(error_with(24, &[1, 2, 3]), TableError::Digest);
        assert_eq!(error_with(HEAD_BYTES + 900, b"?"), TableError::Digest);
    }

    #[test]
    fn a_table_that_ends_anywhere_is_cut() {
        let file = small(&["[UNK]", "bread", "##s"], 0.5);
        for length in 1..file.len() {
            let error = Table::parse(&file[..length]).unwrap_err();
            assert!(matches!(error, TableError::Length { .. }), "{length}: {error}");
        }
        let longer = [&file[..], b"!"].concat();
        assert!(matches!(Table::parse(&longer).unwrap_err(), TableError::Length { .. }));
    }

    #[test]
    fn what_a_digest_confirms_is_still_checked() {
        for scale in [0.0, -1.0, 1e-10, 1e10, f32::NAN, f32::INFINITY] {
            let file = small(&["[UNK]"], scale);
            assert_eq!(Table::parse(&file).unwrap_err(), TableError::Scale { at: 0 }, "{scale}");
        }
        for texts in [&["a", "b"][..], &["[UNK]", "a", "a"], &["[UNK]", ""]] {
            let error = Table::parse(&small(texts, 0.5)).unwrap_err();
            assert!(matches!(error, TableError::Vocabulary { .. }), "{texts:?}: {error}");
        }
    }
}
