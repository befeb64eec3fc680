//! The dashboard (S2-23): one page, its script and style, and the chart library it draws with, built in.
//!
//! The page is open, what it shows is not: the script asks the control API with the key that was typed in.
//! Nothing is loaded from elsewhere, and the policy sent along lets browsers refuse anything that tries.
//!
//! `uplot.js` and `uplot.css` are uPlot 1.6.32 as published (<https://github.com/leeoniya/uPlot>), under the MIT
//! licence in `uplot.LICENSE`.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::identity::key::to_hex;

/// Only what this server sends, no inline script or style, no frame around it, nowhere to send a form.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'";
/// Kept, but asked for again each time: after an upgrade nobody sees an old page with new data.
const CACHING: &str = "no-cache";

/// A file of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The page.
    Page,
    /// Its script.
    Script,
    /// Its style.
    Style,
    /// The chart library.
    Charts,
    /// The style of the chart library.
    ChartStyle,
}

impl Piece {
    const COUNT: usize = 5;

    const fn text(self) -> &'static str {
        match self {
            Self::Page => include_str!("index.html"),
            Self::Script => include_str!("app.js"),
            Self::Style => include_str!("style.css"),
            Self::Charts => include_str!("uplot.js"),
            Self::ChartStyle => include_str!("uplot.css"),
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Page => "text/html; charset=utf-8",
            Self::Script | Self::Charts => "text/javascript; charset=utf-8",
            Self::Style | Self::ChartStyle => "text/css; charset=utf-8",
        }
    }

    /// Its tag: the beginning of its hash, in quotes.
    fn tag(self) -> &'static str {
        static TAGS: [OnceLock<String>; Piece::COUNT] = [const { OnceLock::new() }; Piece::COUNT];
        TAGS[self as usize].get_or_init(|| {
            let hash = Sha256::digest(self.text().as_bytes());
            format!("\"{}\"", to_hex(&hash[..12]))
        })
    }
}

/// The file, or that the browser has it already.
pub fn serve(piece: Piece, asked: &HeaderMap) -> Response {
    let tag = piece.tag();
    let has = |value: &str| value.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    let known = asked.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(has);
    let headers = [
        (CONTENT_TYPE, piece.media_type()),
        (CACHE_CONTROL, CACHING),
        (ETAG, tag),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (StatusCode::OK, headers, Body::from(piece.text())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const ALL: [Piece; Piece::COUNT] =
        [Piece::Page, Piece::Script, Piece::Style, Piece::Charts, Piece::ChartStyle];

    #[test]
    fn each_piece_has_a_tag_of_its_own_by_which_it_is_not_sent_again() {
        let mut tags: Vec<&str> = ALL.iter().map(|piece| piece.tag()).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), ALL.len());
        let mut asked = HeaderMap::new();
        assert_eq!(serve(Piece::Page, &asked).status(), 200);
        let known = format!("\"x\", W/{}", Piece::Page.tag());
        asked.insert(IF_NONE_MATCH, HeaderValue::from_str(&known).unwrap());
        assert_eq!(serve(Piece::Page, &asked).status(), 304);
        assert_eq!(serve(Piece::Style, &asked).status(), 200);
    }

    #[test]
    fn the_page_brings_nothing_that_its_policy_forbids() {
        let page = Piece::Page.text();
        for forbidden in [" style=", "<style", " onclick=", "javascript:", "http://", "https://"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!(scripts, page.matches("<script src=\"ui/").count(), "no inline script");
        let script = Piece::Script.text();
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }
}
