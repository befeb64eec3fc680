//! The program's own log: starts, stops, reloads, warnings, on stderr. One line per event, for people
//! or as JSON.
//!
//! Requests do not come here; they have the access log.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged without `WEIR_LOG`. Pingora speaks of every broken connection, which is news for
/// its authors and noise for ours: the access log has it. Its proxy calls a client that leaves within its head an
/// error, so that whoever scans ports would ring the alarm.
const BASE_FILTER: &str = "info,pingora=warn,pingora_core=warn,pingora_proxy=off,\
                           pingora_pool=warn,pingora_runtime=warn,hyper=warn,hyper_util=warn";

/// What holds whatever `WEIR_LOG` says: these would print the address of a web hook, which is a secret.
const LAST_FILTER: &str = "ureq=warn,ureq_proto=warn";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people: people's eyes on a terminal, no colours in a file or with `NO_COLOR`.
    Human,
    /// One JSON object per line.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `WEIR_LOG` is not a filter.
    #[error("WEIR_LOG: {0} (write it like: info,weir=debug)")]
    Filter(String),
    /// A log was set up before.
    #[error("the log is set up already: {0}")]
    Taken(String),
}

/// Starts the log, for `tracing` and for the `log` macros that Pingora uses. `filter` is the value of
/// `WEIR_LOG`, `no_color` says whether `NO_COLOR` is set to something.
pub fn init(format: Format, filter: Option<&str>, no_color: bool) -> Result<(), LoggingError> {
    let filter = parse_filter(filter.unwrap_or_default())?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written, to a file on a full disk or a closed pipe, would be told on stderr
        // by a macro that panics when that fails too: the log would end requests, and the ledger's thread.
        .log_internal_errors(false)
        .with_ansi(!no_color && format == Format::Human && std::io::stderr().is_terminal());
    let started = match format {
        Format::Human => lines.finish().try_init(),
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| LoggingError::Taken(error.to_string()))
}

/// From now on a panic is told by its place alone: its message may quote the text that it was about, and no text
/// of a prompt or an answer is written anywhere.
pub fn keep_text_out_of_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a part of the gateway has panicked");
    }));
}

/// The user's directives come after ours and so replace those for the same target: `debug` makes us
/// talk and leaves Pingora quiet, `pingora_core=debug` wakes that too.
fn parse_filter(own: &str) -> Result<EnvFilter, LoggingError> {
    let own = if own.trim().is_empty() { String::new() } else { format!(",{own}") };
    let all = format!("{BASE_FILTER}{own},{LAST_FILTER}");
    EnvFilter::builder().parse(all).map_err(|error| LoggingError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_filter_is_laid_over_ours() {
        let quiet = parse_filter("").unwrap().to_string();
        assert!(quiet.contains("pingora_core=warn") && quiet.ends_with("info"), "{quiet}");
        let loud = parse_filter("debug,pingora_core=info,ureq=trace").unwrap().to_string();
        assert!(loud.contains("ureq=warn") && !loud.contains("ureq=trace"), "{loud}");
        assert!(loud.contains("pingora_core=info") && loud.ends_with("debug"), "{loud}");
        assert!(
            loud.contains("pingora_proxy=off") && !loud.contains("pingora_core=warn"),
            "{loud}"
        );
    }

    #[test]
    fn a_bad_filter_is_an_error_and_not_silence() {
        let error = parse_filter("weir=loud").unwrap_err();
        assert!(error.to_string().starts_with("WEIR_LOG: "), "{error}");
    }
}
