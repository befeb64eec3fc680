//! Base URLs: read once from the configuration, joined with the path of each request.
//!
//! Hot path: `BaseUrl::join` makes one string per attempt.

use http::Uri;

use crate::base::surface::Surface;

/// Why a text cannot be a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// Not a URL at all.
    #[error("is not a URL (write it like https://api.openai.com/v1)")]
    NotUrl,
    /// Another scheme than the two we speak.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// Nothing between the scheme and the path.
    #[error("names no host (write it like https://api.openai.com/v1)")]
    NoHost,
    /// A credential inside the URL, which would end up in logs.
    #[error("must not hold a user name or password (use api_key or headers)")]
    UserInfo,
    /// A query, which could not be joined with the request's own.
    #[error("must not have a query (no ? in it)")]
    Query,
    /// A fragment, which is never sent.
    #[error("must not have a fragment (no # in it)")]
    Fragment,
    /// A port that cannot be connected to.
    #[error("has a bad port (1 to 65535)")]
    Port,
}

/// How the path of a request meets the path of the base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// The base path and nothing else (S4-06, `isBaseUrl: false`); what is asked there, if the path tells.
    Exact(Option<Surface>),
    /// The base path, which names the API version, and the request's path without its `/v1` (S4-07).
    Versioned,
    /// The base path and the whole path of the request.
    Whole,
}

/// A checked base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Whether to speak TLS.
    pub tls: bool,
    /// The host to connect to and to verify: a name in lower case, or an address without brackets.
    pub host: String,
    /// The port to connect to.
    pub port: u16,
    /// The value of `Host`: with brackets and port where they are needed.
    pub authority: String,
    path: String,
    join: Join,
}

impl BaseUrl {
    /// Reads a base URL. With `exact`, its path is used as written for every request.
    pub fn parse(text: &str, exact: bool) -> Result<Self, BaseUrlError> {
        // `Uri` drops a fragment in silence, so it has to be looked for here.
        if text.contains('#') {
            return Err(BaseUrlError::Fragment);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BaseUrlError::NotUrl)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(BaseUrlError::Scheme),
        };
        if rest.is_empty() || rest.starts_with(['/', '?', ':']) {
            return Err(BaseUrlError::NoHost);
        }
        let uri: Uri = text.parse().map_err(|_| BaseUrlError::NotUrl)?;
        let authority = uri.authority().ok_or(BaseUrlError::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::UserInfo);
        }
        if uri.query().is_some() || text.contains('?') {
            return Err(BaseUrlError::Query);
        }
        let host = authority.host().to_ascii_lowercase();
        if unbracketed(&host).is_empty() {
            return Err(BaseUrlError::NoHost);
        }
        let port = port_of(authority, tls)?;
        let path = uri.path().to_owned();
        Ok(Self::of(tls, &host, port, if exact { as_written(path) } else { by_path(&path) }))
    }

    fn of(tls: bool, host: &str, port: u16, (path, join): (String, Join)) -> Self {
        let authority = match (tls, port) {
            (true, 443) | (false, 80) => host.to_owned(),
            _ => format!("{host}:{port}"),
        };
        let host = unbracketed(host).to_owned();
        Self { tls, host, port, authority, path, join }
    }

    /// The path and query to ask the upstream for, given those of the request. The prefix
    /// `/anthropic` of our own data plane must be gone already.
    pub fn join(&self, path_and_query: &str) -> String {
        let (path, query) = match path_and_query.find('?') {
            Some(at) => path_and_query.split_at(at),
            None => (path_and_query, ""),
        };
        let path = match self.join {
            Join::Exact(_) => "",
            Join::Versioned => without_version(path),
            Join::Whole => path,
        };
        let mut target = String::with_capacity(self.path.len() + path.len() + query.len() + 1);
        target.push_str(&self.path);
        target.push_str(path);
        if target.is_empty() {
            target.push('/');
        }
        target.push_str(query);
        target
    }

    /// The whole URL for that path and query; may be a secret.
    pub fn url(&self, path_and_query: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.join(path_and_query))
    }

    /// Whether it is one address, to which every request goes whatever its path was.
    pub const fn is_exact(&self) -> bool {
        matches!(self.join, Join::Exact(_))
    }

    /// The surface of that one address, by how its path ends; `None` if it is no such address, or its path does
    /// not tell.
    pub const fn named_surface(&self) -> Option<Surface> {
        match self.join {
            Join::Exact(surface) => surface,
            Join::Versioned | Join::Whole => None,
        }
    }

    /// The path of the base URL as it is used, without a slash at its end unless it is exact.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// An address without the brackets of IPv6.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn port_of(authority: &http::uri::Authority, tls: bool) -> Result<u16, BaseUrlError> {
    let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    match after_host.strip_prefix(':') {
        None if !after_host.is_empty() => Err(BaseUrlError::NotUrl),
        None => Ok(if tls { 443 } else { 80 }),
        Some(text) => text.parse().ok().filter(|&port| port != 0).ok_or(BaseUrlError::Port),
    }
}

fn as_written(path: String) -> (String, Join) {
    /// The longer endings of the same kind first.
    const ENDS: [(&str, Surface); 6] = [
        ("/chat/completions", Surface::Chat),
        ("/completions", Surface::Completions),
        ("/embeddings", Surface::Embeddings),
        ("/responses", Surface::Responses),
        ("/messages/count_tokens", Surface::CountTokens),
        ("/messages", Surface::Messages),
    ];
    let end = path.trim_end_matches('/').to_ascii_lowercase();
    let surface = ENDS.iter().find(|(known, _)| end.ends_with(known)).map(|(_, surface)| *surface);
    (path, Join::Exact(surface))
}

fn by_path(path: &str) -> (String, Join) {
    let path = path.trim_end_matches('/');
    let versioned = path.split('/').any(is_version);
    (path.to_owned(), if versioned { Join::Versioned } else { Join::Whole })
}

/// Whether a path segment is a version: `v1`, `v2`, `v1beta`, `v1alpha1`.
fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix(['v', 'V']) else {
        return false;
    };
    rest.starts_with(|c: char| c.is_ascii_digit())
        && rest.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn without_version(path: &str) -> &str {
    match path.strip_prefix("/v1") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn join(base: &str, path: &str) -> String {
        BaseUrl::parse(base, false).unwrap().join(path)
    }

    #[test]
    fn no_double_version() {
        let chat = "/v1/chat/completions";
        let cases = [
            ("https://api.openai.com", "/v1/chat/completions"),
            ("https://api.openai.com/", "/v1/chat/completions"),
            ("https://api.openai.com/v1", "/v1/chat/completions"),
            ("https://api.openai.com/v1/", "/v1/chat/completions"),
            ("https://openrouter.ai/api/v1", "/api/v1/chat/completions"),
            ("https://api.groq.com/openai/v1", "/openai/v1/chat/completions"),
            (
                "https://generativelanguage.googleapis.com/v1beta/openai",
                "/v1beta/openai/chat/completions",
            ),
            ("https://x.openai.azure.com/openai", "/openai/v1/chat/completions"),
            ("https://open.bigmodel.cn/api/paas/v4", "/api/paas/v4/chat/completions"),
        ];
        for (base, target) in cases {
            assert_eq!(join(base, chat), target, "{base}");
        }
        assert_eq!(
            join("https://api.z.ai/api/anthropic", "/v1/messages"),
            "/api/anthropic/v1/messages"
        );
        assert_eq!(
            join("https://api.deepseek.com/anthropic", "/v1/messages?beta=true"),
            "/anthropic/v1/messages?beta=true"
        );
    }

    #[test]
    fn odd_paths_and_queries_survive() {
        assert_eq!(join("https://a.b/v1", "/v1"), "/v1");
        assert_eq!(join("https://a.b/v1", "/v1?x=1"), "/v1?x=1");
        assert_eq!(join("https://a.b/v1", "/v1beta/x"), "/v1/v1beta/x");
        assert_eq!(join("https://a.b", "/v1/a?b=/v1/c?d"), "/v1/a?b=/v1/c?d");
        assert_eq!(join("https://a.b/vision", "/v1/a"), "/vision/v1/a");
        assert_eq!(join("https://a.b", "?x"), "/?x");
    }

    #[test]
    fn an_exact_url_is_used_as_written() {
        let base = BaseUrl::parse("https://x.y/openai/deployments/d/chat/", true).unwrap();
        assert_eq!(base.join("/v1/chat/completions"), "/openai/deployments/d/chat/");
        assert_eq!(
            base.join("/v1/embeddings?api-version=1"),
            "/openai/deployments/d/chat/?api-version=1"
        );
        assert_eq!(BaseUrl::parse("http://h", true).unwrap().join("/v1/x"), "/");
        assert_eq!(base.url(""), "https://x.y/openai/deployments/d/chat/");
        let base = BaseUrl::parse("http://h:81/a/", false).unwrap();
        assert_eq!(base.url("/budgets"), "http://h:81/a/budgets");
    }

    #[test]
    fn the_path_of_an_exact_url_tells_what_is_asked_there() {
        let of = |path: &str| BaseUrl::parse(&format!("https://h{path}"), true).unwrap();
        for (path, surface) in [
            ("/v1/chat/completions", Some(Surface::Chat)),
            ("/openai/deployments/d/Chat/Completions/", Some(Surface::Chat)),
            ("/v1/completions", Some(Surface::Completions)),
            ("/v1/embeddings", Some(Surface::Embeddings)),
            ("/v1/responses", Some(Surface::Responses)),
            ("/anthropic/v1/messages", Some(Surface::Messages)),
            ("/v1/messages/count_tokens", Some(Surface::CountTokens)),
            ("/v1/mychat/completionsx", None),
            ("/v1", None),
            ("", None),
        ] {
            assert!(of(path).is_exact(), "{path}");
            assert_eq!(of(path).named_surface(), surface, "{path}");
        }
        let whole = BaseUrl::parse("https://h/v1/chat/completions", false).unwrap();
        assert_eq!((whole.is_exact(), whole.named_surface()), (false, None));
    }

    #[test]
    fn host_port_and_authority() {
        let parts = |text: &str| {
            let base = BaseUrl::parse(text, false).unwrap();
            (base.tls, base.host, base.port, base.authority)
        };
        let of = |tls, host: &str, port, authority: &str| {
            (tls, host.to_owned(), port, authority.to_owned())
        };
        assert_eq!(
            parts("https://API.openai.com/v1"),
            of(true, "api.openai.com", 443, "api.openai.com")
        );
        assert_eq!(
            parts("http://localhost:9000/v1"),
            of(false, "localhost", 9000, "localhost:9000")
        );
        assert_eq!(parts("HTTP://[::1]:81"), of(false, "::1", 81, "[::1]:81"));
        assert_eq!(parts("https://[::1]"), of(true, "::1", 443, "[::1]"));
        assert_eq!(parts("https://h:443"), of(true, "h", 443, "h"));
    }

    #[test]
    fn bad_urls_say_what_is_wrong() {
        let cases = [
            ("", BaseUrlError::NotUrl),
            ("api.openai.com/v1", BaseUrlError::NotUrl),
            ("ftp://host/x", BaseUrlError::Scheme),
            ("https://", BaseUrlError::NoHost),
            ("https:///v1", BaseUrlError::NoHost),
            ("https://:443/v1", BaseUrlError::NoHost),
            ("https://me:secret@host/v1", BaseUrlError::UserInfo),
            ("https://me@host/v1", BaseUrlError::UserInfo),
            ("https://host/v1?key=1", BaseUrlError::Query),
            ("https://host/v1?", BaseUrlError::Query),
            ("https://host/v1#a", BaseUrlError::Fragment),
            ("https://[]/v1", BaseUrlError::NoHost),
            ("https://[]:443", BaseUrlError::NoHost),
            ("https://[::1]x", BaseUrlError::NotUrl),
            ("https://host:0/v1", BaseUrlError::Port),
            ("https://ho st/v1", BaseUrlError::NotUrl),
            ("https://host\r\n/v1", BaseUrlError::NotUrl),
        ];
        for (text, why) in cases {
            assert_eq!(BaseUrl::parse(text, false), Err(why), "{text:?}");
        }
        assert!(BaseUrl::parse("https://host:/v1", false).is_err());
        assert!(BaseUrl::parse("https://host:99999/v1", false).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}", path in "\\PC{0,40}") {
            if let Ok(base) = BaseUrl::parse(&format!("https://{text}"), false) {
                prop_assert!(!base.host.is_empty());
                let _ = base.join(&path);
            }
        }
    }
}
