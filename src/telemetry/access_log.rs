//! The access log: one wide JSON line per request, and where the lines go.
//!
//! Hot path: a line is built for every request, on the recorder's thread, into a buffer that is kept;
//! many lines share one write. Names of models, agents and sessions are client input and are escaped so
//! that neither a log reader nor a terminal can be fooled. No text of a prompt or an answer is here,
//! because a `Record` holds none.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use crate::base::surface::Surface;
use crate::config::snapshot::AccessLog as Target;
use crate::record::Record;
use crate::telemetry::json_line::Object;

/// Bytes of lines that are gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// The open log.
pub struct AccessLog {
    sink: Sink,
    buffer: Vec<u8>,
    buffered_lines: u64,
}

enum Sink {
    Off,
    Stdout,
    Stderr,
    File(File),
    #[cfg(test)]
    Memory(std::sync::Arc<parking_lot::Mutex<Vec<u8>>>),
}

/// Lines that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("access log: {lines} lines lost: {error}")]
pub struct LinesLost {
    /// How many.
    pub lines: u64,
    /// Why.
    pub error: io::Error,
}

impl AccessLog {
    /// Opens the log; only a file can fail.
    pub fn open(target: &Target) -> io::Result<Self> {
        let sink = Sink::open(target)?;
        Ok(Self { sink, buffer: Vec::new(), buffered_lines: 0 })
    }

    /// Writes the lines of those requests, in as few writes as the buffer allows.
    pub fn write(&mut self, records: &[Record]) -> Result<(), LinesLost> {
        if matches!(self.sink, Sink::Off) {
            return Ok(());
        }
        let mut lost = Ok(());
        for record in records {
            write_line(&mut self.buffer, record);
            self.buffered_lines += 1;
            if self.buffer.len() >= BUFFER_BYTES {
                lost = lost.and(self.empty());
            }
        }
        lost.and(self.empty())
    }

    /// Cuts the file to nothing; false if the log is none.
    ///
    /// # Errors
    /// The file cannot be cut.
    pub fn clear(&mut self) -> io::Result<bool> {
        match &self.sink {
            // Opened to append: the next line stands at the new end.
            Sink::File(file) => file.set_len(0).map(|()| true),
            _ => Ok(false),
        }
    }

    fn empty(&mut self) -> Result<(), LinesLost> {
        let written = self.sink.write(&self.buffer);
        let lines = std::mem::take(&mut self.buffered_lines);
        self.buffer.clear();
        written.map_err(|error| LinesLost { lines, error })
    }

    #[cfg(test)]
    pub(crate) fn to_memory() -> (Self, std::sync::Arc<parking_lot::Mutex<Vec<u8>>>) {
        let memory = std::sync::Arc::<parking_lot::Mutex<Vec<u8>>>::default();
        let sink = Sink::Memory(memory.clone());
        (Self { sink, buffer: Vec::new(), buffered_lines: 0 }, memory)
    }
}

impl Sink {
    fn open(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::Off => Self::Off,
            Target::Stdout => Self::Stdout,
            Target::Stderr => Self::Stderr,
            Target::File(path) => {
                // Who asked for what and when is the business of the owner and of a group that collects logs.
                Self::File(OpenOptions::new().create(true).append(true).mode(0o640).open(path)?)
            }
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Off => Ok(()),
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(lines),
            Self::File(file) => file.write_all(lines),
            #[cfg(test)]
            Self::Memory(memory) => {
                memory.lock().extend_from_slice(lines);
                Ok(())
            }
        }
    }
}

/// The state of a pin that took no part (S2-16).
const NO_PIN: &str = "fresh";

/// Adds one line. The fields are `api.md` section 5 and those of S2-18 that exist so far.
pub fn write_line(out: &mut Vec<u8>, record: &Record) {
    let mut line = Object::open(out);
    line.time(key!("ts"), record.started_unix_ms);
    line.display(key!("request_id"), record.request_id);
    line.text(key!("agent"), Some(&record.agent));
    session(&mut line, record);
    line.word(key!("surface"), record.surface.map(Surface::name));
    line.word(key!("dialect"), record.surface.map(|surface| surface.dialect().name()));
    line.text(key!("requested_model"), Some(&record.requested_model));
    line.text(key!("final_model"), record.served_model.as_deref());
    line.text(key!("provider"), record.provider.as_deref());
    line.word(key!("decision"), Some(record.decision));
    choice(&mut line, record);
    line.number(key!("status"), u64::from(record.status));
    line.flag(key!("ok"), record.is_ok());
    line.word(key!("error_type"), record.error_type());
    line.word(key!("fault"), record.fault);
    line.word(key!("end"), Some(record.end.name()));
    line.flag(key!("streaming"), record.streaming);
    attempts(&mut line, record);
    line.flag(key!("switched"), record.switched);
    line.flag(key!("notice"), record.notice);
    usage(&mut line, record);
    guard(&mut line, record);
    line.millis(key!("latency_ms"), Some(record.duration_us));
    line.millis(key!("ttft_ms"), record.first_byte_us);
    line.number(key!("overhead_us"), record.overhead_us);
    line.number(key!("request_bytes"), record.request_bytes);
    line.number(key!("response_bytes"), record.response_bytes);
    line.close();
    out.push(b'\n');
}

/// The session by the client's word, else as pins know it; and how its pin took part.
fn session(line: &mut Object<'_>, record: &Record) {
    let choice = record.choice.as_deref();
    match (&record.session, choice.map(|choice| choice.session_key).filter(|key| *key != 0)) {
        (None, Some(key)) => line.text(key!("session_id"), Some(&format!("{key:016x}"))),
        (named, _) => line.text(key!("session_id"), named.as_deref()),
    }
    let state = choice.map(|choice| choice.pin_state).filter(|state| !state.is_empty());
    line.word(key!("pin_state"), Some(state.unwrap_or(NO_PIN)));
    if let Some(choice) = choice.filter(|choice| choice.pin_saved.0 > 0) {
        line.display(key!("pin_saved_usd"), choice.pin_saved);
    }
}

/// How a strategy chose (S2-18); nothing but the word that none did, where the client had named a model.
fn choice(line: &mut Object<'_>, record: &Record) {
    line.word(key!("mutator"), Some(record.mutators).filter(|name| !name.is_empty()));
    line.number(key!("saved_tokens"), record.saved_tokens);
    let Some(choice) = &record.choice else { return line.word(key!("router"), None) };
    line.word(key!("router"), Some(choice.strategy));
    line.text(key!("decision_model"), Some(&choice.model));
    line.text(key!("decision_reason"), Some(&choice.reason));
    line.millionths(key!("confidence"), choice.confidence_ppm);
    if !choice.difficulty.is_empty() {
        line.text(key!("task_type"), Some(&choice.task_type));
        line.word(key!("difficulty"), Some(choice.difficulty));
        line.number(key!("token_count"), choice.token_count);
        line.flag(key!("has_tools"), choice.has_tools);
        line.flag(key!("has_images"), choice.has_images);
        line.word(key!("language"), Some(choice.language));
    }
}

fn attempts(line: &mut Object<'_>, record: &Record) {
    line.list(key!("models_tried"), |list| {
        for attempt in &record.attempts {
            list.text(&attempt.model);
        }
    });
    line.number(key!("escalation_count"), record.escalations());
    line.list(key!("attempts"), |list| {
        for attempt in &record.attempts {
            list.object(|one| {
                one.text(key!("model"), Some(&attempt.model));
                one.text(key!("provider"), Some(&attempt.provider));
                one.word(key!("outcome"), Some(attempt.outcome.name()));
                one.number(key!("status"), u64::from(attempt.status));
                one.millis(key!("ms"), Some(attempt.duration_us));
            });
        }
    });
}

/// What the guards found, where they found anything: names of rules and numbers.
fn guard(line: &mut Object<'_>, record: &Record) {
    let Some(guard) = &record.guard else { return };
    line.word(key!("guard_action"), Some(guard.action));
    line.list(key!("guard_rules"), |list| {
        for rule in &guard.rules {
            list.text(rule);
        }
    });
    line.display(key!("guard_score"), guard.score);
    line.number(key!("guard_redactions"), u64::from(guard.redactions));
    line.flag(key!("guard_canary_leaked"), guard.canary_leaked);
    line.flag(key!("guard_failed"), guard.failures > 0);
}

fn usage(line: &mut Object<'_>, record: &Record) {
    line.word(key!("usage_source"), Some(record.usage_source.name()));
    if let Some(usage) = &record.usage {
        let written = usage.cache_write.saturating_add(usage.cache_write_1h);
        let prompt = usage.input.saturating_add(usage.cache_read).saturating_add(written);
        line.number(key!("prompt_tokens"), prompt);
        line.number(key!("completion_tokens"), usage.output);
        line.number(key!("cached_tokens"), usage.cache_read);
        line.number(key!("input_tokens"), usage.input);
        line.number(key!("cache_write_tokens"), usage.cache_write);
        line.number(key!("cache_write_1h_tokens"), usage.cache_write_1h);
        line.number(key!("reasoning_tokens"), usage.reasoning);
    }
    line.display(key!("cost_usd"), record.cost);
    line.word(key!("bound"), record.bound);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::NanoUsd;
    use crate::record::sample;
    use crate::record::{ChoiceRecord, End, Outcome};
    use serde_json::{Value, json};
    use std::os::unix::fs::PermissionsExt;

    fn line_of(record: &Record) -> Value {
        let mut out = Vec::new();
        write_line(&mut out, record);
        assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_line_holds_everything_about_a_request() {
        let line = line_of(&sample::record());
        let expected = r#"{
            "ts": "2023-11-14T22:13:20.007Z", "request_id": "0000000000000000000000000000001f",
            "agent": "agent-1", "session_id": "s-1", "pin_state": "fresh", "surface": "chat", "dialect": "openai",
            "requested_model": "auto", "final_model": "claude", "provider": "openrouter",
            "decision": "round_robin", "router": null, "mutator": null, "saved_tokens": 0, "status": 200, "ok": true, "error_type": null, "fault": null,
            "end": "complete", "streaming": true, "models_tried": ["gpt", "claude"],
            "escalation_count": 1, "switched": true, "notice": true, "usage_source": "exact",
            "prompt_tokens": 127, "completion_tokens": 50, "cached_tokens": 20, "input_tokens": 100,
            "cache_write_tokens": 3, "cache_write_1h_tokens": 4, "reasoning_tokens": 7,
            "cost_usd": "0.00057", "bound": "hard", "latency_ms": 2500.5, "ttft_ms": 300.0, "overhead_us": 45,
            "request_bytes": 1234, "response_bytes": 5678, "attempts": [
                {"model": "gpt", "provider": "openrouter", "outcome": "retry_status",
                 "status": 429, "ms": 150.25},
                {"model": "claude", "provider": "openrouter", "outcome": "answered",
                 "status": 200, "ms": 150.25}
            ]
        }"#;
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(line, expected);
    }

    #[test]
    fn a_choice_is_told_with_its_reason() {
        let mut record = sample::record();
        record.choice = Some(Box::new(ChoiceRecord {
            task_type: "code".into(),
            difficulty: "hard",
            token_count: 12,
            has_tools: true,
            language: "he",
            strategy: "rule_based",
            model: "claude".into(),
            reason: "hard_or_long -> oracle".into(),
            confidence_ppm: 900_000,
            pin_state: "hard",
            escalations: 3,
            ..ChoiceRecord::default()
        }));
        record.mutators = "thinking";
        let line = line_of(&record);
        let expected = json!({
            "router": "rule_based", "decision_model": "claude", "confidence": 0.9,
            "decision_reason": "hard_or_long -> oracle", "task_type": "code", "difficulty": "hard",
            "token_count": 12, "has_tools": true, "has_images": false, "language": "he",
            "mutator": "thinking", "pin_state": "hard", "escalation_count": 3,
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&line[key], value, "{key}");
        }
        record.choice = Some(Box::default());
        assert!(line_of(&record).get("task_type").is_none(), "nobody has read the request");
    }

    #[test]
    fn a_file_can_be_emptied_and_is_written_on() {
        let folder = std::env::temp_dir().join(format!("weir-cleared-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("access.jsonl");
        let mut log = AccessLog::open(&Target::File(file.clone())).unwrap();
        log.write(&[sample::record(), sample::record()]).unwrap();
        assert!(log.clear().unwrap());
        log.write(&[sample::record()]).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("{\"ts\"") && text.lines().count() == 1, "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(!AccessLog::open(&Target::Off).unwrap().clear().unwrap());
    }

    #[test]
    fn finds_of_the_guards_are_told_by_name() {
        let guard = crate::record::GuardRecord {
            action: "redact",
            rules: vec!["us_ssn"],
            redactions: 2,
            ..crate::record::GuardRecord::default()
        };
        let line = line_of(&Record { guard: Some(Box::new(guard)), ..sample::record() });
        assert_eq!(
            (&line["guard_action"], &line["guard_redactions"]),
            (&json!("redact"), &json!(2))
        );
        assert_eq!(line["guard_rules"], json!(["us_ssn"]));
        assert!(line_of(&sample::record()).get("guard_action").is_none());
    }

    #[test]
    fn names_from_clients_cannot_forge_lines() {
        let mut record = sample::record();
        record.requested_model = "a\"}\n{\"status\":200,\u{1b}[2J\u{9b}\u{202e}".into();
        record.session = None;
        let line = line_of(&record);
        assert_eq!(line["requested_model"], &*record.requested_model);
        assert_eq!(line["session_id"], Value::Null);
    }

    #[test]
    fn a_session_without_a_name_is_shown_by_its_key() {
        let mut record = sample::record();
        let choice = ChoiceRecord {
            pin_state: "soft",
            session_key: 0xab,
            pin_saved: NanoUsd(1_500_000),
            ..ChoiceRecord::default()
        };
        record.choice = Some(Box::new(choice));
        assert_eq!(line_of(&record)["session_id"], "s-1");
        record.session = None;
        let line = line_of(&record);
        assert_eq!(line["session_id"], "00000000000000ab");
        assert_eq!(
            (&line["pin_state"], &line["pin_saved_usd"]),
            (&json!("soft"), &json!("0.0015"))
        );
    }

    #[test]
    fn the_kind_of_error_is_one_word() {
        let mut record = sample::record();
        record.status = 502;
        assert_eq!(line_of(&record)["error_type"], "upstream_status");
        record.fault = Some("upstream_unreachable");
        assert_eq!(line_of(&record)["error_type"], "upstream_unreachable");
        (record.status, record.fault, record.end) = (200, None, End::Cut);
        let line = line_of(&record);
        assert_eq!((&line["ok"], &line["error_type"]), (&json!(false), &json!("cut")));
        record.attempts = vec![sample::attempt("m", Outcome::ClientGone, 0)];
        record.usage = None;
        assert_eq!(line_of(&record)["escalation_count"], 0);
    }

    #[test]
    fn lines_are_added_to_a_file_that_not_everybody_reads() {
        let folder = std::env::temp_dir().join(format!("weir-lines-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let target = Target::File(folder.join("access.jsonl"));
        for _ in 0..2 {
            let mut log = AccessLog::open(&target).unwrap();
            log.write(&[sample::record(), sample::record()]).unwrap();
        }
        let text = std::fs::read_to_string(folder.join("access.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 4);
        let mode = std::fs::metadata(folder.join("access.jsonl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(AccessLog::open(&target).is_err());
    }

    #[test]
    fn no_log_is_no_error() {
        assert!(AccessLog::open(&Target::Off).unwrap().write(&[sample::record()]).is_ok());
    }
}
