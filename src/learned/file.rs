//! The file of a learnt router: description, heads and table, under one digest. Where its bytes come from, and where
//! they go, is the caller's business.
//!
//! Layout, all numbers little-endian: magic, version, then the lengths of the three parts, each `u32`; the description
//! in JSON; the heads' numbers as `f32`; the table as `conf/router/distill.py` writes it; SHA-256 of all before it.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::base::limit;
use crate::learned::embedding::{Reading, Scratch};
use crate::learned::heads::{Column, Heads, HeadsError, Judgement, Tier, VECTOR, Weights};
use crate::learned::shape::SHAPE_FEATURES;
use crate::learned::table::{Table, TableError};

const MAGIC: [u8; 8] = *b"WEIRRTR\0";
/// The layout that this program writes and reads.
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 8 + 4 * 4;
const DIGEST_BYTES: usize = 32;
/// Numbers that describe a request: vector, shape, setting.
pub const INPUTS: usize = VECTOR + SHAPE_FEATURES + SETTING;
/// Numbers of a `Setting`.
const SETTING: usize = 2;

/// Why a file is no router.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RouterError {
    /// There are no bytes at all.
    #[error("the router file is empty")]
    Empty,
    /// It is some other file.
    #[error("this is no router file: it does not begin with WEIRRTR")]
    Magic,
    /// Another layout.
    #[error(
        "the router file has version {found}, this program reads version {VERSION}: train it again"
    )]
    Version {
        /// What the file says.
        found: u32,
    },
    /// It ends too early, or too late.
    #[error(
        "the router file has {found} bytes where {announced} are announced: it is cut or was added to"
    )]
    Length {
        /// Bytes that its head speaks of, or that a head has.
        announced: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// Larger than a router can be.
    #[error("the router file has {found} bytes, more than {most}")]
    TooLarge {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there may be.
        most: u64,
    },
    /// The content is not what was written.
    #[error("the content of the router file is damaged: its SHA-256 is not the one at its end")]
    Digest,
    /// The description is not what this program writes.
    #[error("the description of the router file: {what}")]
    About {
        /// What is wrong with it.
        what: String,
    },
    /// Another number of inputs.
    #[error("the router was trained on {found} inputs, this program has {INPUTS}: train it again")]
    Inputs {
        /// What the file says.
        found: usize,
    },
    /// The numbers are no heads.
    #[error("the heads of the router file: {0}")]
    Heads(#[from] HeadsError),
    /// The table is none.
    #[error("the embedding of the router file: {0}")]
    Table(#[from] TableError),
}

/// One of the data sets that a router was trained on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What it is called.
    pub name: String,
    /// Where it is from.
    pub source: String,
    /// Under which licence.
    pub licence: String,
    /// Queries.
    pub queries: usize,
    /// SHA-256 of its lines, in hex.
    pub digest: String,
    /// Of a request log the last request; lines up to it are not learnt again. Empty for data sets.
    pub last: String,
}

/// A setting of the dial, and what it kept on queries that it was not set with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operating {
    /// Share of the best model's quality that is promised.
    pub target: f64,
    /// `Preference::alpha`, with the dearest candidate as yardstick.
    pub alpha: f64,
    /// The share that was kept.
    pub quality: f64,
    /// Cost saved against the best model, 0 to 1.
    pub saved: f64,
}

/// What a router file says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// What it was trained on.
    pub data: Vec<Source>,
    /// Seed and folds of the training.
    pub seed: u64,
    /// See `seed`.
    pub folds: usize,
    /// Its own cross-validation: one object for each data set, as `weir eval` prints them.
    pub evaluation: Vec<Value>,
    /// Settings of the dial.
    pub operating: Vec<Operating>,
}

/// What a request has beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Tools that it offers.
    pub tools: u32,
}

/// What describes a request, in the order that heads are trained with.
#[expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "a count as an input")]
pub fn inputs(reading: &Reading, setting: Setting) -> [f32; INPUTS] {
    let mut inputs = [0.0; INPUTS];
    inputs[..VECTOR].copy_from_slice(&reading.vector);
    inputs[VECTOR..VECTOR + SHAPE_FEATURES].copy_from_slice(&reading.shape);
    // Many tools are many, however many: from 16 on it is one value.
    inputs[INPUTS - 2] = setting.tools.min(16) as f32 / 16.0;
    inputs[INPUTS - 1] = if setting.tools == 1 { 1.0 } else { 0.0 };
    inputs
}

/// A router as it is loaded.
#[derive(Debug)]
pub struct Router {
    table: Table,
    heads: Heads,
    about: About,
    digest: [u8; DIGEST_BYTES],
}

impl Router {
    /// Reads a file; nothing of it is believed before its digest is right.
    ///
    /// # Errors
    /// What is wrong with it: empty, another kind, another version, cut, damaged, or not consistent.
    pub fn parse(bytes: &[u8]) -> Result<Self, RouterError> {
        let [about, heads, table] = parts(bytes)?;
        let value: Value = serde_json::from_slice(about)
            .map_err(|error| RouterError::About { what: error.to_string() })?;
        let (about, mut weights, rank) = read_about(&value)?;
        fill(&mut weights, rank, heads)?;
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&bytes[bytes.len() - DIGEST_BYTES..]);
        Ok(Self { table: Table::parse(table)?, heads: Heads::new(weights)?, about, digest })
    }

    /// The table's part of a file, to write it again.
    ///
    /// # Errors
    /// `bytes` are no router file.
    pub fn table_of(bytes: &[u8]) -> Result<&[u8], RouterError> {
        parts(bytes).map(|[_, _, table]| table)
    }

    /// The heads.
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// What the file says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// SHA-256 of the file's content.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The column of a trained model of this name, else of a tier.
    pub fn resolve(&self, name: &str, tier: Tier) -> Column {
        self.heads.resolve(name, tier)
    }

    /// The highest weight of cost that was measured to keep `target` of the best model's quality, 0 to 1: that of the
    /// next higher promise in the file. `None` if the file promises nothing as high.
    #[expect(clippy::float_arithmetic, reason = "shares of quality, not money")]
    pub fn alpha(&self, target: f64) -> Option<f64> {
        let kept = self.about.operating.iter().filter(|point| point.target >= target - 1e-9);
        kept.min_by(|one, other| one.target.total_cmp(&other.target)).map(|point| point.alpha)
    }

    /// Reads a request's text.
    pub fn read(&self, text: &str, scratch: &mut Scratch) -> Reading {
        self.table.embed(text, scratch)
    }

    /// What is expected of each of `columns` for a request that was read.
    pub fn judge(&self, reading: &Reading, setting: Setting, columns: &[Column]) -> Judgement<'_> {
        self.heads.judge(&inputs(reading, setting), columns)
    }
}

/// The three parts of a file, after all that can be said of it as bytes.
fn parts(bytes: &[u8]) -> Result<[&[u8]; 3], RouterError> {
    let found = bytes.len() as u64;
    if bytes.is_empty() {
        return Err(RouterError::Empty);
    }
    if bytes.len() > limit::ROUTER_FILE_BYTES_MAX {
        return Err(RouterError::TooLarge { found, most: limit::ROUTER_FILE_BYTES_MAX as u64 });
    }
    let shared = bytes.len().min(MAGIC.len());
    if bytes[..shared] != MAGIC[..shared] {
        return Err(RouterError::Magic);
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Err(RouterError::Length { announced: HEAD_BYTES as u64, found });
    };
    let number = |at: usize| {
        head.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    if number(8) != VERSION {
        return Err(RouterError::Version { found: number(8) });
    }
    let lengths = [12, 16, 20].map(|at| number(at) as usize);
    let announced = (HEAD_BYTES + DIGEST_BYTES) as u64
        + lengths.iter().map(|length| *length as u64).sum::<u64>();
    if announced != found {
        return Err(RouterError::Length { announced, found });
    }
    let (content, digest) = bytes.split_at(bytes.len() - DIGEST_BYTES);
    if Sha256::digest(content)[..] != *digest {
        return Err(RouterError::Digest);
    }
    let (about, rest) = rest.split_at(lengths[0]);
    let (heads, rest) = rest.split_at(lengths[1]);
    Ok([about, heads, &rest[..lengths[2]]])
}

/// The bytes of a router file.
///
/// # Errors
/// The numbers are no heads, or the table is none.
pub fn write(weights: &Weights, about: &About, table: &[u8]) -> Result<Vec<u8>, RouterError> {
    Heads::new(weights.clone())?;
    Table::parse(table)?;
    if weights.offset.len() != INPUTS {
        return Err(RouterError::Inputs { found: weights.offset.len() });
    }
    let described = describe(weights, about).to_string();
    if described.len() > limit::ROUTER_ABOUT_BYTES_MAX {
        return Err(RouterError::About { what: format!("{} bytes are too many", described.len()) });
    }
    let heads: Vec<u8> = matrices(weights)
        .iter()
        .flat_map(|part| part.iter())
        .flat_map(|one| one.to_le_bytes())
        .collect();
    let mut bytes = MAGIC.to_vec();
    for number in [VERSION as usize, described.len(), heads.len(), table.len()] {
        let number = u32::try_from(number).map_err(|_| RouterError::TooLarge {
            found: number as u64,
            most: u64::from(u32::MAX),
        })?;
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(described.as_bytes());
    bytes.extend(heads);
    bytes.extend(table);
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    Ok(bytes)
}

/// All matrices in the order of the file; the last holds one number.
fn matrices(weights: &Weights) -> [&[f32]; 9] {
    [
        &weights.offset,
        &weights.scale,
        &weights.classifier,
        &weights.centroids,
        &weights.quality,
        &weights.evidence,
        &weights.tokens,
        &weights.rise,
        &weights.spread,
    ]
}

/// Cuts the heads' numbers into matrices, of the sizes that follow from names and rank.
fn fill(weights: &mut Weights, rank: usize, bytes: &[u8]) -> Result<(), RouterError> {
    let (tasks, columns) = (weights.tasks.len(), weights.columns());
    let sizes = [
        INPUTS,
        INPUTS,
        (INPUTS + 1) * tasks,
        tasks * VECTOR,
        tasks * columns,
        tasks * columns,
        tasks * columns,
        (INPUTS + 1) * rank,
        rank * columns,
    ];
    let (announced, found) = ((sizes.iter().sum::<usize>() * 4) as u64, bytes.len() as u64);
    if announced != found {
        return Err(RouterError::Length { announced, found });
    }
    let mut numbers = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
    let places = [
        &mut weights.offset,
        &mut weights.scale,
        &mut weights.classifier,
        &mut weights.centroids,
        &mut weights.quality,
        &mut weights.evidence,
        &mut weights.tokens,
        &mut weights.rise,
        &mut weights.spread,
    ];
    for (place, size) in places.into_iter().zip(sizes) {
        place.extend(numbers.by_ref().take(size));
    }
    Ok(())
}

fn describe(weights: &Weights, about: &About) -> Value {
    let data = about.data.iter().map(|one| {
        json!({"name": one.name, "source": one.source, "licence": one.licence,
            "queries": one.queries, "sha256": one.digest, "last": one.last})
    });
    let operating = about.operating.iter().map(|one| {
        json!({"target": one.target, "alpha": one.alpha, "quality": one.quality, "saved": one.saved})
    });
    json!({
        "inputs": weights.offset.len(),
        "rank": weights.rank(),
        "tasks": weights.tasks,
        "models": weights.models,
        "other_below": weights.other_below,
        "data": data.collect::<Vec<_>>(),
        "seed": about.seed,
        "folds": about.folds,
        "evaluation": about.evaluation,
        "operating": operating.collect::<Vec<_>>(),
    })
}

type Described = (About, Weights, usize);

fn read_about(value: &Value) -> Result<Described, RouterError> {
    let missing = |what: &str| RouterError::About {
        what: format!("{what} is missing, or of the wrong kind"),
    };
    let count = |field: &str| {
        let number = value
            .get(field)
            .and_then(Value::as_u64)
            .and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| missing(field))
    };
    let list =
        |field: &str| value.get(field).and_then(Value::as_array).ok_or_else(|| missing(field));
    let names = |field: &str| {
        let names = list(field)?.iter().map(|name| name.as_str().map(str::to_owned));
        names.collect::<Option<Vec<String>>>().ok_or_else(|| missing(field))
    };
    if count("inputs")? != INPUTS {
        return Err(RouterError::Inputs { found: count("inputs")? });
    }
    let rank = count("rank")?;
    if rank > limit::LEARNED_RANK_MAX {
        return Err(missing("rank"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "it was an f32 when it was written")]
    let other_below =
        value.get("other_below").and_then(Value::as_f64).ok_or_else(|| missing("other_below"))?
            as f32;
    let weights = Weights {
        tasks: names("tasks")?,
        models: names("models")?,
        other_below,
        ..Weights::default()
    };
    let about = About {
        data: list("data")?.iter().map(source).collect(),
        seed: value.get("seed").and_then(Value::as_u64).ok_or_else(|| missing("seed"))?,
        folds: count("folds")?,
        evaluation: list("evaluation")?.clone(),
        operating: list("operating")?
            .iter()
            .map(operating)
            .collect::<Option<_>>()
            .ok_or_else(|| missing("operating"))?,
    };
    Ok((about, weights, rank))
}

fn source(value: &Value) -> Source {
    let text =
        |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let queries = value.get("queries").and_then(Value::as_u64).unwrap_or_default();
    Source {
        name: text("name"),
        source: text("source"),
        licence: text("licence"),
        queries: usize::try_from(queries).unwrap_or(usize::MAX),
        digest: text("sha256"),
        last: text("last"),
    }
}

fn operating(value: &Value) -> Option<Operating> {
    let number = |field: &str| value.get(field).and_then(Value::as_f64);
    Some(Operating {
        target: number("target")?,
        alpha: number("alpha")?,
        quality: number("quality")?,
        saved: number("saved")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        Weights {
            tasks: vec!["a".into(), "b".into()],
            models: vec!["m".into()],
            offset: vec![0.5; INPUTS],
            scale: vec![2.0; INPUTS],
            classifier: vec![0.1; (INPUTS + 1) * 2],
            centroids: vec![0.0; 2 * VECTOR],
            quality: vec![0.5; 8],
            evidence: vec![3.0; 8],
            tokens: vec![100.0; 8],
            rise: vec![0.01; (INPUTS + 1) * 3],
            spread: vec![0.02; 12],
            other_below: 0.25,
        }
    }

    fn about() -> About {
        let point = Operating { target: 0.95, alpha: 0.05, quality: 0.97, saved: 0.7 };
        let data =
            Source { name: "made".into(), licence: "MIT".into(), queries: 7, ..Source::default() };
        About {
            data: vec![data],
            seed: 1,
            folds: 5,
            evaluation: vec![json!({"gap": 1})],
            operating: vec![point],
        }
    }

    fn bytes() -> Vec<u8> {
        write(&weights(), &about(), include_bytes!("../../conf/router/embedding.bin")).unwrap()
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let router = Router::parse(&bytes()).unwrap();
        assert_eq!(router.heads().weights(), &weights());
        assert_eq!(router.about(), &about());
        assert_eq!(
            (router.alpha(0.9), router.alpha(0.95), router.alpha(0.99)),
            (Some(0.05), Some(0.05), None)
        );
        let reading =
            router.read("Prove that there are infinitely many primes.", &mut Scratch::default());
        let judged =
            router.judge(&reading, Setting { tools: 1 }, &[router.resolve("m", Tier::Fast)]);
        assert_eq!(judged.quality().len(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let good = bytes();
        let parse = |bytes: &[u8]| Router::parse(bytes).map(drop);
        assert_eq!(parse(&[]), Err(RouterError::Empty));
        assert_eq!(parse(b"{\"not\": \"a router\"}"), Err(RouterError::Magic));
        let cut =
            RouterError::Length { announced: good.len() as u64, found: good.len() as u64 - 1 };
        assert_eq!(parse(&good[..good.len() - 1]), Err(cut));
        assert!(matches!(parse(&good[..10]), Err(RouterError::Length { .. })));
        let mut other = good.clone();
        other[8] = 9;
        assert_eq!(parse(&other), Err(RouterError::Version { found: 9 }));
        let mut damaged = good.clone();
        damaged[good.len() / 2] ^= 1;
        assert_eq!(parse(&damaged), Err(RouterError::Digest));
    }

    #[test]
    fn a_description_that_does_not_fit_is_told() {
        let tampered = |from: &str, to: &str| {
            let mut bytes = bytes();
            let at =
                bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            let content = bytes.len() - DIGEST_BYTES;
            let digest = Sha256::digest(&bytes[..content]);
            bytes[content..].copy_from_slice(&digest);
            Router::parse(&bytes).unwrap_err()
        };
        assert_eq!(
            tampered("\"inputs\":162", "\"inputs\":161"),
            RouterError::Inputs { found: 161 }
        );
        assert!(matches!(tampered("\"rank\":3", "\"rank\":4"), RouterError::Length { .. }));
        assert!(matches!(tampered("\"rank\":3", "\"rank\":x"), RouterError::About { .. }));
        assert!(matches!(tampered("\"seed\":1", "\"seel\":1"), RouterError::About { .. }));
    }
}
