//! Which part of the data plane a method and path ask for (`api.md` section 3, first table).
//!
//! Only paths are read here; queries are carried along untouched.

use crate::base::fault::{Code, Fault, Methods};
use crate::base::limit::PATH_DECODES_MAX;
use crate::base::surface::{Dialect, Surface};
use crate::exchange::models;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A provider, on that surface.
    Provider(Surface),
    /// The list of models.
    Models,
    /// One model by its id (may hold slashes, still percent-encoded).
    Model(&'a str),
    /// Health, in the union shape of C-02.
    Health,
    /// Alive: the process answers.
    Live,
    /// Ready: the process takes traffic.
    Ready,
    /// `HEAD /`, the probe of Claude Code.
    Probe,
    /// The seed's one call (S1-01).
    Infer,
    /// The control API, which an agent may also reach here.
    Api,
    /// A web socket on the Responses API: exactly 426.
    WebSocket,
}

/// A request line, as far as it decides where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method, upper case.
    pub method: &'a str,
    /// The path without query, beginning with a slash.
    pub path: &'a str,
    /// Whether the request asks for a web socket.
    pub web_socket: bool,
    /// Whether it carries an `anthropic-version` header, which tells the dialect of paths that both
    /// dialects have.
    pub anthropic_version: bool,
}

/// Finds the destination.
///
/// # Errors
/// `not_found` for a path that is none of ours, `method_not_allowed` for a known path with a method
/// that it does not have.
pub fn classify<'a>(line: &RequestLine<'a>) -> Result<Destination<'a>, Fault> {
    match line.path {
        "/" if matches!(line.method, "HEAD" | "GET") => Ok(Destination::Probe),
        "/health" | "/api/health" => read_only(line, Destination::Health),
        "/healthz" | "/livez" => read_only(line, Destination::Live),
        "/readyz" => read_only(line, Destination::Ready),
        "/v1/models" | "/anthropic/v1/models" => match line.method {
            "GET" | "HEAD" => Ok(Destination::Models),
            _ => Ok(Destination::Provider(Surface::Other(dialect_of(line)))),
        },
        "/infer" | "/api/messages" if line.method == "POST" => Ok(Destination::Infer),
        "/infer" | "/api/messages" => Err(Fault::only(Methods::Post)),
        path if path.starts_with("/api/") => Ok(Destination::Api),
        path => provider_path(line, path),
    }
}

/// The path as it is sent upstream: without the `/anthropic` prefix of our own data plane.
pub fn upstream_path(path: &str) -> &str {
    match path.strip_prefix("/anthropic") {
        Some(rest) if rest.starts_with("/v1") => rest,
        _ => path,
    }
}

fn provider_path<'a>(line: &RequestLine<'a>, path: &'a str) -> Result<Destination<'a>, Fault> {
    let path = upstream_path(path);
    let surface = match path {
        "/v1/chat/completions" => Surface::Chat,
        "/v1/completions" => Surface::Completions,
        "/v1/embeddings" => Surface::Embeddings,
        "/v1/responses" if line.method == "GET" && line.web_socket => {
            return Ok(Destination::WebSocket);
        }
        "/v1/responses" => Surface::Responses,
        "/v1/messages" => Surface::Messages,
        "/v1/messages/count_tokens" => Surface::CountTokens,
        _ => return other_path(line, path),
    };
    if line.method == "POST" {
        return Ok(Destination::Provider(surface));
    }
    Err(Fault::only(Methods::Post))
}

fn other_path<'a>(line: &RequestLine<'a>, path: &'a str) -> Result<Destination<'a>, Fault> {
    if let (Some(id), "GET" | "HEAD") = (path.strip_prefix("/v1/models/"), line.method) {
        return Ok(Destination::Model(id));
    }
    let readings = readings(path);
    if readings.iter().any(|names| steps_out(names)) {
        return Err(Fault::new(Code::NotFound, "a path must not hold `.` or `..` segments"));
    }
    if !matches!(line.method, "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") {
        // A server that obeys TRACE sends back the request, our credential included.
        return Err(Fault::only(Methods::Passed));
    }
    if let Some(path) = readings.iter().find_map(|names| means_ours(names)) {
        let message = format!("write the path as {path}");
        return Err(Fault::new(Code::NotFound, message));
    }
    if path == "/v1" || path.starts_with("/v1/") {
        return Ok(Destination::Provider(Surface::Other(dialect_of(line))));
    }
    Err(Fault::new(Code::NotFound, "no such path; the APIs are below /v1"))
}

/// The names in a path as generous servers read them, after each layer in which percent signs may be undone: a server
/// that has found a path of its own does not ask what the next would make of it. A question mark or hash that comes
/// to light may end the path, and may not.
fn readings(path: &str) -> Vec<Vec<String>> {
    let mut text = path.to_owned();
    let mut out = Vec::new();
    for layer in 0..=PATH_DECODES_MAX {
        if layer > 0 {
            text = models::percent_decoded(&text);
        }
        out.push(plain_names(&text));
        out.extend(text.split_once(['?', '#']).map(|(path, _)| plain_names(path)));
    }
    out
}

/// The names in a path: either slash parts them, what follows a semicolon is cut off, empty names and the case of
/// letters are of no account, whatever their alphabet: the sign for Kelvin is a `k` to some.
fn plain_names(path: &str) -> Vec<String> {
    let segments = path.split(['/', '\\']);
    let names = segments.map(|segment| segment.split(';').next().unwrap_or_default().trim());
    names.filter(|name| !name.is_empty()).map(str::to_lowercase).collect()
}

/// Whether a provider that normalises paths could be led out of the base URL's path, with our
/// credential in hand.
fn steps_out(names: &[String]) -> bool {
    names.iter().any(|name| matches!(name.as_str(), "." | ".."))
}

/// The path of a surface of ours that a provider which is not strict about paths would read there: as such it
/// would be answered without guards, meter and budget.
fn means_ours(names: &[String]) -> Option<&'static str> {
    const OURS: [&str; 6] = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
    ];
    let meant = names.iter().fold(String::new(), |path, name| path + "/" + name);
    OURS.into_iter().find(|ours| *ours == meant)
}

/// The dialect of whoever asks so, as far as a request line tells.
pub fn dialect_of(line: &RequestLine<'_>) -> Dialect {
    let anthropic = line.anthropic_version
        || line.path.starts_with("/anthropic/")
        || line.path == "/v1/messages"
        || line.path.starts_with("/v1/messages/");
    if anthropic { Dialect::Anthropic } else { Dialect::OpenAi }
}

fn read_only<'a>(
    line: &RequestLine<'_>,
    destination: Destination<'a>,
) -> Result<Destination<'a>, Fault> {
    if matches!(line.method, "GET" | "HEAD") {
        return Ok(destination);
    }
    Err(Fault::only(Methods::Read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(method: &'static str, path: &'static str) -> Result<Destination<'static>, Code> {
        let line = RequestLine { method, path, web_socket: false, anthropic_version: false };
        classify(&line).map_err(|fault| fault.code)
    }

    #[test]
    fn the_table_of_paths() {
        use Destination::Provider;
        assert_eq!(go("POST", "/v1/chat/completions"), Ok(Provider(Surface::Chat)));
        assert_eq!(go("POST", "/v1/messages"), Ok(Provider(Surface::Messages)));
        assert_eq!(go("POST", "/anthropic/v1/messages"), Ok(Provider(Surface::Messages)));
        assert_eq!(
            go("POST", "/anthropic/v1/messages/count_tokens"),
            Ok(Provider(Surface::CountTokens))
        );
        assert_eq!(go("GET", "/v1/models/openai/gpt-4o"), Ok(Destination::Model("openai/gpt-4o")));
        assert_eq!(go("DELETE", "/v1/files/x"), Ok(Provider(Surface::Other(Dialect::OpenAi))));
        assert_eq!(go("PUT", "/v1"), Ok(Provider(Surface::Other(Dialect::OpenAi))));
        assert_eq!(
            go("GET", "/v1/messages/batches"),
            Ok(Provider(Surface::Other(Dialect::Anthropic)))
        );
        assert_eq!(go("POST", "/infer"), Ok(Destination::Infer));
        assert_eq!(go("POST", "/api/messages"), Ok(Destination::Infer));
        assert_eq!(go("GET", "/infer"), Err(Code::MethodNotAllowed));
        assert_eq!(go("HEAD", "/"), Ok(Destination::Probe));
        assert_eq!(go("GET", "/healthz"), Ok(Destination::Live));
    }

    #[test]
    fn what_is_not_there_says_so() {
        assert_eq!(go("GET", "/v1/chat/completions"), Err(Code::MethodNotAllowed));
        assert_eq!(go("POST", "/health"), Err(Code::MethodNotAllowed));
        assert_eq!(go("GET", "/v2/chat"), Err(Code::NotFound));
        assert_eq!(go("GET", "/v1x"), Err(Code::NotFound));
        assert_eq!(go("POST", "/"), Err(Code::NotFound));
        for method in ["TRACE", "CONNECT", "PROPFIND"] {
            assert_eq!(go(method, "/v1/x"), Err(Code::MethodNotAllowed), "{method}");
        }
        for path in [
            "/v1/../admin",
            "/v1/%2e%2E/admin",
            "/v1/a/..%2fb",
            "/v1/.",
            "/v1/a/..%5Cb",
            "/v1/%252e%252e/admin",
            "/v1/..;/admin",
            "/v1/x/..;a=b/chat/completions",
            "/v1/x%3f%2f..%2fadmin",
        ] {
            assert_eq!(go("GET", path), Err(Code::NotFound), "{path}");
        }
        assert!(go("GET", "/v1/files/a..b").is_ok());
    }

    #[test]
    fn a_surface_has_one_spelling() {
        for path in [
            "/v1/chat/completions/",
            "/v1//chat/completions",
            "/v1/%63hat/completions",
            "/v1/chat%2fcompletions",
            "/v1/chat%252fcompletions",
            "/v1/Chat/Completions",
            "/v1/chat/completions;x=1",
            "/v1/chat\\completions",
            "/v1/chat/completions;%2fx",
            "/v1/chat/completions%3fx",
            "/v1/chat/completions%3fx/y",
            "/v1/chat/completions%2523",
            "/v1/chat/completions#/x",
            "/v1/chat/completions;%2fx#/y",
            "/v1/messages/",
            "/anthropic/v1//messages",
            "/v1/messages/count_to\u{212a}ens",
            "/v1/messages/count_to%E2%84%AAens",
        ] {
            assert_eq!(go("POST", path), Err(Code::NotFound), "{path}");
        }
        for path in ["/v1/chat/completions/x", "/v1/messages/batches", "/v1/files/a%20b/"] {
            assert!(go("POST", path).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_web_socket_on_responses_is_told_to_use_http() {
        let line = RequestLine {
            method: "GET",
            path: "/v1/responses",
            web_socket: true,
            anthropic_version: false,
        };
        assert_eq!(classify(&line).unwrap(), Destination::WebSocket);
    }
}
