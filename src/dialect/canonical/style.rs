//! What a writer must know beside the neutral form: of the provider at the other end, of the client, and
//! of what translating the request did to names, and what the answer repeats of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::limit::ECHOED_BYTES_MAX;
use crate::dialect::canonical::text::Text;

/// What the provider takes, for the writers of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Chat: the field by which it lets the output be capped.
    pub output_cap_field: &'static str,
    /// The cap where the client gives none and the dialect demands one (Messages).
    pub output_cap_default: u64,
    /// Whether `cache_control` on parts is understood although the dialect has none (`OpenRouter`).
    pub keeps_cache_marks: bool,
    /// Whether the gateway wants usage at the end of a stream that the client did not ask for (Chat).
    pub ask_usage: bool,
}

/// What the writers of answers need of the request and of the gateway.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// Our own id of the request: the tail of ids that the provider does not give.
    pub request_id: String,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// The model to name where the provider names none.
    pub model: String,
    /// Chat: whether the client wants a usage chunk at the end of its stream.
    pub stream_usage: bool,
    /// What the names in the answer stand for.
    pub memory: Arc<Memory>,
}

/// What translating a request did to the names of tools, to be undone in the answer, and what is to be told of
/// the request there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The names as the client wrote them, by those that were sent; both as written in JSON.
    aliases: HashMap<Box<[u8]>, Box<[u8]>>,
    /// Custom tools that were sent as functions with one text argument, by their names as sent.
    custom: HashSet<Box<[u8]>>,
    /// What the answer repeats of the request.
    pub echo: Echo,
}

/// The fields of a request that its answer repeats, as the client wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    fields: Vec<(&'static str, Box<[u8]>)>,
    /// Bytes of all of them.
    size: usize,
}

impl Echo {
    /// Keeps a value of checked JSON in one line, if there is room for it.
    pub fn keep(&mut self, name: &'static str, value: &[u8]) {
        let size = self.size.saturating_add(value.len());
        if size <= ECHOED_BYTES_MAX {
            self.size = size;
            // Between the tokens of JSON a line's end is as good as a blank, and would end an event's line.
            let one_line = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
            self.fields.push((name, value.iter().map(one_line).collect()));
        }
    }

    /// The value of a field, if the request had one and it was kept.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.fields.iter().find(|(kept, _)| *kept == name)?;
        Some(value)
    }
}

impl Memory {
    /// Remembers that `sent` stands for `name`, unless it stands for one already.
    pub fn alias(&mut self, sent: &Text<'_>, name: &Text<'_>) {
        if !self.aliases.contains_key(sent.as_written()) {
            self.aliases.insert(sent.as_written().into(), name.as_written().into());
        }
    }

    /// Remembers that the tool of that name takes free text for the client.
    pub fn custom(&mut self, sent: &Text<'_>) {
        self.custom.insert(sent.as_written().into());
    }

    /// The client's own name for a tool.
    pub fn original<'m>(&'m self, sent: &'m Text<'_>) -> Text<'m> {
        let found = self.aliases.get(sent.as_written());
        Text::written(found.map_or(sent.as_written(), |name| &**name))
    }

    /// Whether the client knows that tool as a custom one.
    pub fn is_custom(&self, sent: &Text<'_>) -> bool {
        self.custom.contains(sent.as_written())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_the_client_wrote_them() {
        let mut memory = Memory::default();
        memory.alias(&Text::of("short"), &Text::of("long"));
        memory.alias(&Text::of("short"), &Text::of("later"));
        memory.custom(&Text::of("patch"));
        assert_eq!(memory.original(&Text::of("short")), Text::of("long"));
        assert_eq!(memory.original(&Text::of("other")), Text::of("other"));
        assert!(memory.is_custom(&Text::of("patch")) && !memory.is_custom(&Text::of("short")));
    }

    #[test]
    fn what_is_too_long_to_be_repeated_is_not_kept() {
        let mut echo = Echo::default();
        echo.keep("user", b"\"me\"");
        echo.keep("tools", &vec![b' '; ECHOED_BYTES_MAX]);
        echo.keep("instructions", b"\"be kind\"");
        let kept = ["user", "tools", "instructions"].map(|name| echo.get(name).is_some());
        assert_eq!(kept, [true, false, true]);
        echo.keep("metadata", b"{\r\n\"a\":\"\\n\"}");
        assert_eq!(echo.get("metadata"), Some(&b"{  \"a\":\"\\n\"}"[..]));
    }
}
