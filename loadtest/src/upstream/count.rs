//! What an answer counts: tokens of each kind, from the text of the request and the answer asked for.
//!
//! The same [`Tokens`] stand in the usage that is reported and on the bill. Counting is
//! deterministic, so that a test can tell the figures from the request. It shares nothing with the
//! gateway's own bound of a request, which it is there to contradict.

use std::str::FromStr;

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::fault::Fault;
use super::manner::Manner;

/// Members of a body whose text counts by default.
const TEXT_KEYS: [&str; 5] = ["system", "instructions", "messages", "input", "prompt"];
/// Members that a provider writes into the prompt besides, counted byte for byte only.
const SHAPE_KEYS: [&str; 5] = ["tools", "functions", "tool_choice", "response_format", "text"];
/// Parts of a message that are no text: counted as `media=N`, not by their bytes.
const MEDIA_PARTS: [&str; 7] =
    ["image_url", "image", "input_image", "input_audio", "document", "file", "input_file"];

/// Tokens of one answer by kind. The four kinds of input are apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Input that touched no cache.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache for some minutes.
    pub cache_write: u64,
    /// Input written to a cache for an hour.
    pub cache_write_1h: u64,
    /// Output of all answers, hidden reasoning included.
    pub output: u64,
    /// The part of the output that is hidden reasoning.
    pub reasoning: u64,
}

impl Tokens {
    /// Input of all kinds.
    pub fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.written()
    }

    /// Input written to caches of either age.
    pub fn written(&self) -> u64 {
        self.cache_write + self.cache_write_1h
    }

    /// The same with another output.
    #[must_use]
    pub fn with_output(self, output: u64) -> Self {
        Self { output, reasoning: self.reasoning.min(output), ..self }
    }
}

/// How input tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counting {
    /// Bytes of the messages' text / 4, rounded up, at least 1.
    #[default]
    Quarter,
    /// One per byte of all text that reaches the model, tools and names included: the worst case
    /// of a byte tokenizer.
    Bytes,
    /// The same, of the text in Unicode form NFKC, which can be eleven times as long.
    Nfkc,
}

impl FromStr for Counting {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "default" => Self::Quarter,
            "bytes" => Self::Bytes,
            "nfkc" => Self::Nfkc,
            _ => return Err(()),
        })
    }
}

/// The cache that all input goes to or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// Read from a cache.
    Read,
    /// Written for some minutes.
    Write,
    /// Written for an hour.
    Write1h,
}

impl FromStr for Cache {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "read" => Self::Read,
            "write" => Self::Write,
            "write1h" => Self::Write1h,
            _ => return Err(()),
        })
    }
}

/// Which member of a body limits the output; all others are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CapField {
    /// The first given of `max_completion_tokens`, `max_tokens`, `max_output_tokens`.
    #[default]
    Any,
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
    /// `max_output_tokens`.
    MaxOutputTokens,
    /// None: the provider knows no limit.
    Nothing,
}

impl FromStr for CapField {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "any" => Self::Any,
            "max_tokens" => Self::MaxTokens,
            "max_completion_tokens" => Self::MaxCompletionTokens,
            "max_output_tokens" => Self::MaxOutputTokens,
            "none" => Self::Nothing,
            _ => return Err(()),
        })
    }
}

impl CapField {
    /// The request's own limit on the output of one answer. By default Ollama does not know
    /// `max_completion_tokens`.
    pub fn read(self, body: &Value, manner: Manner) -> Option<u64> {
        let keys: &[&str] = match self {
            Self::Any if manner == Manner::Ollama => &["max_tokens", "max_output_tokens"],
            Self::Any => &["max_completion_tokens", "max_tokens", "max_output_tokens"],
            Self::MaxTokens => &["max_tokens"],
            Self::MaxCompletionTokens => &["max_completion_tokens"],
            Self::MaxOutputTokens => &["max_output_tokens"],
            Self::Nothing => &[],
        };
        keys.iter().find_map(|key| body[*key].as_u64())
    }
}

/// The output of one answer under a limit: what is hidden, what is seen, what is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Content chunks, a token each.
    pub chunks: u64,
    /// Hidden reasoning, which comes before the content and eats the limit first.
    pub reasoning: u64,
    /// All that is counted; more than the limit only with `overrun`.
    pub counted: u64,
    /// The limit cut it short.
    pub limited: bool,
}

impl Output {
    /// `wanted` content chunks and the fault's reasoning under the limit.
    pub fn under(cap: Option<u64>, wanted: u64, fault: &Fault) -> Self {
        let most = cap.unwrap_or(u64::MAX);
        let reasoning = fault.reasoning.min(most);
        let chunks = wanted.min(most - reasoning);
        let natural = reasoning.saturating_add(chunks);
        let counted = match fault.overrun {
            0 => natural,
            more => cap.unwrap_or(natural).saturating_add(more),
        };
        let limited = fault.reasoning.saturating_add(wanted) > most;
        Self { chunks, reasoning, counted, limited }
    }
}

/// Input tokens by kind, no output yet.
pub fn input(body: &Value, fault: &Fault) -> Tokens {
    let all = if fault.tokens == Counting::Quarter {
        let bytes: u64 = TEXT_KEYS.iter().map(|key| text_bytes(&body[*key])).sum();
        bytes.div_ceil(4).max(1)
    } else {
        let keys = TEXT_KEYS.iter().chain(&SHAPE_KEYS);
        keys.map(|key| every_byte(&body[*key], fault)).sum::<u64>().max(1)
    };
    let none = Tokens::default();
    match fault.cache {
        Some(Cache::Read) => Tokens { cache_read: all, ..none },
        Some(Cache::Write) => Tokens { cache_write: all, ..none },
        Some(Cache::Write1h) => Tokens { cache_write_1h: all, ..none },
        None => Tokens {
            input: all.saturating_sub(fault.cached + fault.written + fault.written_1h),
            cache_read: fault.cached,
            cache_write: fault.written,
            cache_write_1h: fault.written_1h,
            ..none
        },
    }
}

/// Bytes of text below a value: strings, and what lies under `content` and `text`.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(list) => list.iter().map(text_bytes).sum(),
        Value::Object(object) => {
            ["content", "text"].iter().filter_map(|key| object.get(*key)).map(text_bytes).sum()
        }
        // A token id in an embeddings request.
        Value::Number(_) => 4,
        _ => 0,
    }
}

/// Every byte of names, strings and numbers below a value.
fn every_byte(value: &Value, fault: &Fault) -> u64 {
    match value {
        Value::String(text) => string_bytes(text, fault.tokens),
        Value::Array(list) => list.iter().map(|item| every_byte(item, fault)).sum(),
        Value::Object(object) => {
            if object
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|kind| MEDIA_PARTS.contains(&kind))
            {
                return fault.media;
            }
            let member = |(key, item): (&String, &Value)| {
                string_bytes(key, fault.tokens) + every_byte(item, fault)
            };
            object.iter().map(member).sum()
        }
        Value::Number(number) => number.to_string().len() as u64,
        Value::Bool(_) | Value::Null => 0,
    }
}

fn string_bytes(text: &str, counting: Counting) -> u64 {
    if counting == Counting::Nfkc && !text.is_ascii() {
        return text.nfkc().map(|character| character.len_utf8() as u64).sum();
    }
    text.len() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counted(model: &str, body: &Value) -> Tokens {
        input(body, &Fault::from_model(model))
    }

    #[test]
    fn input_is_counted_in_three_ways() {
        let body = json!({
            "model": "not counted", "messages": [{"role": "user", "content": "12345678é"}],
            "tools": [{"type": "function", "n": 10}],
        });
        assert_eq!(counted("mock", &body).prompt(), 3);
        // role, user, content, the text; type, function, n, 10.
        let bytes = 4 + 4 + 7 + 10 + 4 + 8 + 1 + 2;
        assert_eq!(counted("mock-tokens=bytes", &body).prompt(), bytes);
        assert_eq!(counted("mock-tokens=nfkc", &body).prompt(), bytes);
        assert!(bytes < body.to_string().len() as u64);
        assert_eq!(counted("mock-tokens=bytes", &Value::Null).prompt(), 1);
    }

    #[test]
    fn a_ligature_of_eighteen_letters_is_one_bomb() {
        let body = json!({"prompt": "\u{FDFA}".repeat(1000)});
        assert_eq!(counted("mock-tokens=bytes", &body).prompt(), 3_000);
        assert_eq!(counted("mock-tokens=nfkc", &body).prompt(), 33_000);
        assert_eq!(counted("mock", &body).prompt(), 750);
    }

    #[test]
    fn media_count_as_told_and_not_by_their_bytes() {
        let image =
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
        let body = json!({"messages": [image, image, "abc"]});
        assert_eq!(counted("mock-tokens=bytes", &body).prompt(), 3);
        assert_eq!(counted("mock-tokens=bytes-media=1000", &body).prompt(), 2_003);
    }

    #[test]
    fn input_goes_to_the_cache_asked_for() {
        let body = json!({"prompt": "x".repeat(40)});
        let plain = counted("mock-cached=2-written=3-written1h=1", &body);
        let kinds = [plain.input, plain.cache_read, plain.cache_write, plain.cache_write_1h];
        assert_eq!(kinds, [4, 2, 3, 1]);
        assert_eq!(counted("mock-cache=write1h", &body).cache_write_1h, 10);
        assert_eq!(counted("mock-cache=write", &body).cache_write, 10);
        assert_eq!(counted("mock-cache=read", &body).cache_read, 10);
        assert_eq!(counted("mock-cache=write1h", &body).input, 0);
    }

    #[test]
    fn one_field_limits_the_output() {
        let body = json!({"max_tokens": 10, "max_completion_tokens": 20, "max_output_tokens": 30});
        let cap = |name: &str| name.parse::<CapField>().unwrap().read(&body, Manner::OpenAi);
        assert_eq!(cap("any"), Some(20));
        assert_eq!(cap("max_tokens"), Some(10));
        assert_eq!(cap("max_completion_tokens"), Some(20));
        assert_eq!(cap("max_output_tokens"), Some(30));
        assert_eq!(cap("none"), None);
        assert_eq!(CapField::Any.read(&body, Manner::Ollama), Some(10));
        assert_eq!(
            CapField::MaxTokens.read(&json!({"max_completion_tokens": 1}), Manner::OpenAi),
            None
        );
    }

    #[test]
    fn reasoning_is_inside_the_limit_and_an_overrun_is_not() {
        let under = |cap, model: &str| Output::under(cap, 4, &Fault::from_model(model));
        let free = under(None, "mock-reasoning=100");
        assert_eq!((free.chunks, free.counted, free.limited), (4, 104, false));
        let tight = under(Some(50), "mock-reasoning=100");
        assert_eq!((tight.chunks, tight.reasoning, tight.counted), (0, 50, 50));
        assert!(tight.limited);
        let some = under(Some(102), "mock-reasoning=100");
        assert_eq!((some.chunks, some.counted, some.limited), (2, 102, true));
        assert_eq!(under(Some(50), "mock-overrun=7").counted, 57);
        assert_eq!(under(None, "mock-overrun=7").counted, 11);
    }
}
