//! What a request asks the mock to do, read from its headers and from its model name.
//!
//! A gateway may strip unknown headers, so both ways say the same things. Header
//! `x-mock-<item>: <value>` (a flag takes any value but `0`) wins over the model name, whose form is
//!
//! ```text
//! [<vendor>/][<manner>(-|/|:)]mock(-<item>[=<value>])*[+<split>]
//! ```
//!
//! for example `mock-chunks=200-interval=5`, `openrouter/mock-429`, `mock-fixture=sse/crlf.sse+byte`.
//! Items are separated by `-`; names without `mock` (or with items nobody knows) are plain models.
//! What neither says is as in [`super::server::MockConfig::habits`].
//!
//! | item | header (`x-mock-`…) | does |
//! | --- | --- | --- |
//! | `429`, any `<status>`, `status=N` | `status` | answers with that status in the dialect's error form |
//! | `fail=N`, `fail-first=N` | `fail-first` | only the first N requests per key fail (status as given, else 503) |
//! | `key=K` | `key` | the key to count by, else credential and model |
//! | `retryafter=N` | `retry-after` | `retry-after: N` on the failure |
//! | `slow` | `slow` | `latency=3000` |
//! | `latency=MS` | `latency-ms` | waits before the head of the answer |
//! | `chunks=N` | `chunks` | content chunks (default 4), also the completion tokens |
//! | `interval=MS` | `interval-ms` | waits between events |
//! | `bytes=N` | `bytes` | N bytes of answer text, spread over the chunks |
//! | `usage=none/last/finish/every/x_groq` | `usage` | where a chat stream carries its usage |
//! | `cached=N`, `written=N`, `written1h=N`, `reasoning=N` | same | tokens of that kind in the usage; reasoning has no visible bytes and is inside the output limit |
//! | `cut`, `cut=N` | `cut-after` | closes inside the chunked body after N events (2) |
//! | `cuthalf=N` | `cut-half` | the same, but in the middle of event N+1 |
//! | `reset=N` | `reset-after` | the same as `cut`, with a TCP reset |
//! | `stall=N` | `stall-after` | stops after N events (2) and keeps the connection open |
//! | `cleancut=N` | `clean-cut` | ends cleanly after N events (2), no finish, no `[DONE]` |
//! | `error=N` | `error-after` | an error event after N events (0 = first), in a 200 stream |
//! | `inside=429`, `inside-429` | `inside` | a 200 JSON body that holds an error of that code; with `error=N` the code of that event |
//! | `manner=M` | `manner` | see [`Manner`] |
//! | `tools` | `tools` | calls the first tool of the request (one of its own if there is none), unless the conversation ends in the result of one |
//! | `tools=offered` | `tools: offered` | the same, but speaks where no tool is offered |
//! | `split=whole/byte/randS` | `split` | how body bytes are cut into chunks (`random:<seed>` in headers) |
//! | `burst` | `burst` | no flush between events |
//! | `fixture=NAME` | `fixture` | replays that file of `fixtures_dir` byte for byte |
//! | `echo` | `echo` | tells what arrived, as JSON |
//! | `blank` | `blank` | five delayed blank lines before the JSON |
//! | `gzip`, `gzipbomb` | same | a gzip body nobody asked for; 64 MiB of zeros in 64 KiB |
//! | `endless` | `endless` | one line of 64 MiB |
//! | `hugeheader` | `hugeheader` | a response header of 256 KiB |
//! | `nothttp` | `nothttp` | bytes that are no HTTP |
//! | `hang` | `hang` | reads the request and never answers |
//! | `nohead` | `nohead` | reads the request and closes without a status |
//!
//! What an answer counts and costs (see [`super::bill`] for what is booked when):
//!
//! | item | header (`x-mock-`…) | does |
//! | --- | --- | --- |
//! | `tokens=default/bytes/nfkc` | `tokens` | how input is counted: text bytes / 4; one per byte of all text; one per byte of its NFKC |
//! | `media=N` | `media` | tokens of each image, audio or document part with `bytes` and `nfkc` (0) |
//! | `cache=read/write/write1h` | `cache` | all input is of that kind |
//! | `cap=any/max_tokens/max_completion_tokens/max_output_tokens/none` | `cap` | the one field that limits the output |
//! | `overrun=N` | `overrun` | each answer counts N output tokens more than its limit (without one: than it has) |
//! | `price=IN:OUT[:READ[:WRITE[:WRITE1H]]]` | `price` | dollars per million tokens, against [`super::server::MockConfig::prices`] |
//! | `cost`, `cost=0.0123` | `cost` | `usage.cost` in every manner; with a value this is what the answer costs, in dollars |
//! | `bill=full/seen/none` | `bill` | what an answer costs that was not sent to its end |
//! | `billerror` | `bill-error` | errors cost what the answer would have; those inside a 200 carry its usage |

use hyper::HeaderMap;

use super::bill::Abandoned;
use super::count::{Cache, CapField, Counting};
use super::manner::{Manner, UsagePlace};
use super::price::{Price, nano_dollars};

/// Milliseconds that `mock-slow` waits: longer than any first-byte timeout a test would set.
const SLOW_MS: u64 = 3_000;
/// Longest wait a request may ask for.
const WAIT_MS_MAX: u64 = 600_000;
/// Most chunks a request may ask for: about 20 MB of events.
const CHUNKS_MAX: u64 = 100_000;
/// Most answer bytes a request may ask for.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most tokens of one kind a request may ask for, so that sums and products stay far from the
/// ends of their integers.
const TOKENS_MAX: u64 = 1_000_000_000;
/// Events sent before a fault that names no number.
const EVENTS_BEFORE: usize = 2;

/// How an answer departs from a plain one, apart from its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// As the surface writes it.
    #[default]
    Plain,
    /// JSON that tells what arrived.
    Echo,
    /// Blank lines before the JSON.
    Blank,
    /// `content-encoding: gzip`.
    Gzip,
    /// A small gzip body that unpacks to 64 MiB.
    GzipBomb,
    /// One line of 64 MiB.
    Endless,
    /// A response header of 256 KiB.
    HugeHeader,
    /// Bytes that are no HTTP.
    NotHttp,
    /// No answer at all, the connection stays open.
    Hang,
    /// No answer at all, the connection closes.
    NoHead,
}

/// How a stream ends, and after how many events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// As the surface ends it.
    #[default]
    Full,
    /// The connection closes inside the chunked body.
    Cut(usize),
    /// The connection closes in the middle of the next event.
    CutHalf(usize),
    /// The connection is reset.
    Reset(usize),
    /// Nothing more comes, the connection stays open.
    Stall(usize),
    /// The HTTP body ends properly, the stream's own end is missing.
    Clean(usize),
    /// An error event.
    Error(usize),
}

/// How body bytes are cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// One chunk for everything.
    Whole,
    /// One chunk per byte.
    Byte,
    /// Chunks of 1 to 40 bytes from a seeded sequence.
    Random(u64),
}

/// What a request wants to cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Costs {
    /// The price of its tokens.
    pub price: Option<Price>,
    /// Report `usage.cost` in every manner.
    pub is_told: bool,
    /// What the answer costs in nano-dollars, whatever its tokens.
    pub fixed_nano: Option<i64>,
    /// What an answer costs that was not sent to its end.
    pub abandoned: Abandoned,
    /// Errors cost what the answer would have.
    pub has_errors: bool,
}

/// Everything a request asks for. The default asks for a plain answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// Status of a failing answer.
    pub status: Option<u16>,
    /// Only so many requests per key fail.
    pub fail_first: Option<u32>,
    /// The key to count `fail_first` by.
    pub key: Option<String>,
    /// Seconds of `retry-after`.
    pub retry_after: Option<u32>,
    /// Milliseconds before the head.
    pub latency_ms: u64,
    /// Content chunks.
    pub chunks: Option<u64>,
    /// Milliseconds between events.
    pub interval_ms: u64,
    /// Bytes of answer text.
    pub bytes: Option<u64>,
    /// Where a chat stream carries usage, against the manner's own habit.
    pub usage: Option<UsagePlace>,
    /// Input tokens read from a cache.
    pub cached: u64,
    /// Input tokens written to a cache.
    pub written: u64,
    /// Input tokens written to a cache for an hour.
    pub written_1h: u64,
    /// Hidden reasoning tokens of each answer.
    pub reasoning: u64,
    /// How input is counted.
    pub tokens: Counting,
    /// Tokens of each part that is no text.
    pub media: u64,
    /// The cache that all input is of.
    pub cache: Option<Cache>,
    /// The field that limits the output.
    pub cap: CapField,
    /// Output tokens beyond the limit.
    pub overrun: u64,
    /// What it costs.
    pub costs: Costs,
    /// How a stream ends.
    pub ending: Ending,
    /// Code of an error inside a 200 JSON body or of an error event.
    pub inside: Option<u16>,
    /// Whose habits to follow.
    pub manner: Option<Manner>,
    /// Call the first tool, unless one has just answered.
    pub tools: bool,
    /// Of those that are offered only.
    pub offered_only: bool,
    /// How body bytes are cut.
    pub split: Option<Split>,
    /// No flush between events.
    pub burst: bool,
    /// The fixture to replay.
    pub fixture: Option<String>,
    /// Departures that concern the whole answer.
    pub shape: Shape,
}

impl Fault {
    /// Reads the model name over the mock's own habits, then the `x-mock-*` headers, which win.
    pub fn read(headers: &HeaderMap, model: Option<&str>, habits: &Self) -> Self {
        let mut fault = habits.clone();
        if let Some(model) = model {
            fault.apply(model);
        }
        for (name, value) in headers {
            let (Some(item), Ok(value)) = (name.as_str().strip_prefix("x-mock-"), value.to_str())
            else {
                continue;
            };
            fault.set(item, value.trim());
        }
        fault
    }

    /// Reads the grammar of the module's head; a name that does not follow it asks for nothing.
    pub fn from_model(model: &str) -> Self {
        let mut fault = Self::default();
        fault.apply(model);
        fault
    }

    /// Adds what a model name asks for.
    fn apply(&mut self, model: &str) {
        let Some(start) = mock_start(model) else { return };
        let prefix = model[..start].trim_end_matches(['/', '-', ':']);
        let last = prefix.rsplit(['/', ':']).next().unwrap_or_default();
        self.manner = last.parse().ok().or(self.manner);
        let (items, split) = match model[start + 4..].split_once('+') {
            Some((items, split)) => (items, Some(split)),
            None => (&model[start + 4..], None),
        };
        let mut words = items.split('-').filter(|word| !word.is_empty()).peekable();
        while let Some(word) = words.next() {
            if let Some((item, value)) = word.split_once('=') {
                self.set(item, value);
            } else if word.len() == 3 && word.parse::<u16>().is_ok() {
                self.set("status", word);
            } else if word == "inside" {
                self.set("inside", words.next_if(|next| is_number(next)).unwrap_or("429"));
            } else if word == "fail" && words.peek().is_some_and(|next| next.starts_with("first="))
            {
                self.set("fail", words.next().map_or("", |next| &next["first=".len()..]));
            } else {
                self.set(word, "");
            }
        }
        if let Some(split) = split {
            self.set("split", split);
        }
    }

    /// True if the same request will always get the same answer.
    pub fn is_repeatable(&self) -> bool {
        self.fail_first.is_none() && self.shape != Shape::Echo && !self.is_silent()
    }

    /// True if not even a status is to be sent.
    pub fn is_silent(&self) -> bool {
        matches!(self.shape, Shape::Hang | Shape::NoHead)
    }

    /// One item with its value; unknown items and bad values are ignored.
    fn set(&mut self, item: &str, value: &str) {
        let events = value.parse().unwrap_or(EVENTS_BEFORE);
        match item {
            "cut" | "cut-after" => self.ending = Ending::Cut(events),
            "cuthalf" | "cut-half" => self.ending = Ending::CutHalf(events),
            "reset" | "reset-after" => self.ending = Ending::Reset(events),
            "stall" | "stall-after" => self.ending = Ending::Stall(events),
            "cleancut" | "clean-cut" => self.ending = Ending::Clean(events),
            "error" | "error-after" => self.ending = Ending::Error(events),
            "manner" => self.manner = value.parse().ok(),
            "usage" => self.usage = value.parse().ok(),
            "key" => self.key = Some(value.to_owned()),
            "fixture" => self.fixture = Some(value.to_owned()),
            "split" => self.split = parse_split(value),
            "tools" => (self.tools, self.offered_only) = (value != "0", value == "offered"),
            "burst" => self.burst = value != "0",
            "slow" => self.latency_ms = number(value, WAIT_MS_MAX).unwrap_or(SLOW_MS),
            _ => self.set_number_or_shape(item, value),
        }
    }

    fn set_number_or_shape(&mut self, item: &str, value: &str) {
        let small = value.parse().ok();
        match item {
            "status" => self.status = small.filter(|status| (200..=599).contains(status)),
            "inside" => self.inside = small.or(Some(429)),
            "fail" | "fail-first" => self.fail_first = value.parse().ok(),
            "retryafter" | "retry-after" => self.retry_after = value.parse().ok(),
            "latency" | "latency-ms" => {
                self.latency_ms = number(value, WAIT_MS_MAX).unwrap_or_default();
            }
            "interval" | "interval-ms" => {
                self.interval_ms = number(value, WAIT_MS_MAX).unwrap_or_default();
            }
            "chunks" => self.chunks = number(value, CHUNKS_MAX),
            "bytes" => self.bytes = number(value, BYTES_MAX),
            _ if self.set_count(item, value) || self.set_bill(item, value) => {}
            _ if value != "0" => self.shape = parse_shape(item).unwrap_or(self.shape),
            _ => {}
        }
    }

    /// Items that are a number of tokens; false for all others.
    fn set_count(&mut self, item: &str, value: &str) -> bool {
        let count = match item {
            "cached" => &mut self.cached,
            "written" => &mut self.written,
            "written1h" => &mut self.written_1h,
            "reasoning" => &mut self.reasoning,
            "media" => &mut self.media,
            "overrun" => &mut self.overrun,
            _ => return false,
        };
        *count = number(value, TOKENS_MAX).unwrap_or_default();
        true
    }

    /// Items about counting and prices; false for all others.
    fn set_bill(&mut self, item: &str, value: &str) -> bool {
        match item {
            "tokens" => self.tokens = value.parse().unwrap_or_default(),
            "cache" => self.cache = value.parse().ok(),
            "cap" => self.cap = value.parse().unwrap_or_default(),
            "price" => self.costs.price = value.parse().ok(),
            "cost" => {
                self.costs.is_told = true;
                self.costs.fixed_nano = nano_dollars(value);
            }
            "bill" => self.costs.abandoned = value.parse().unwrap_or_default(),
            "billerror" | "bill-error" => self.costs.has_errors = value != "0",
            _ => return false,
        }
        true
    }
}

fn is_number(word: &str) -> bool {
    word.parse::<u16>().is_ok()
}

fn number(value: &str, most: u64) -> Option<u64> {
    value.parse::<u64>().ok().map(|number| number.min(most))
}

/// Where `mock` stands at the start of a segment and ends one.
fn mock_start(model: &str) -> Option<usize> {
    model.match_indices("mock").map(|(at, _)| at).find(|&at| {
        let before = model[..at].chars().next_back();
        let after = model[at + 4..].chars().next();
        matches!(before, None | Some('/' | '-' | ':')) && matches!(after, None | Some('-' | '+'))
    })
}

fn parse_split(value: &str) -> Option<Split> {
    match value {
        "whole" => Some(Split::Whole),
        "byte" => Some(Split::Byte),
        _ => {
            let seed = value.strip_prefix("random:").or_else(|| value.strip_prefix("rand"))?;
            Some(Split::Random(seed.parse().unwrap_or(1)))
        }
    }
}

fn parse_shape(item: &str) -> Option<Shape> {
    Some(match item.to_ascii_lowercase().as_str() {
        "echo" => Shape::Echo,
        "blank" => Shape::Blank,
        "gzip" => Shape::Gzip,
        "gzipbomb" => Shape::GzipBomb,
        "endless" => Shape::Endless,
        "hugeheader" => Shape::HugeHeader,
        "nothttp" => Shape::NotHttp,
        "hang" => Shape::Hang,
        "nohead" => Shape::NoHead,
        _ => return None,
    })
}
