//! What lies outside of the process: `store`, the file of the ledger, and `console`, the control plane.

use std::path::PathBuf;

use http::header::HeaderValue;

use crate::config::bound;
use crate::config::problem::{At, Place};
use crate::config::section::{Section, header_value, shown};
use crate::config::snapshot::{Console, Store, Synchronous};
use crate::config::yaml::Text;
use crate::upstream::target::BaseUrl;

/// The file of the ledger, unless configured otherwise.
const STORE_PATH: &str = "weir.db";
/// What can be written for `store`.
const STORE_FORMS: &str = "(sqlite:PATH or sqlite:PATH?synchronous=normal)";

/// `console`.
pub struct RawConsole {
    /// The control plane, if it is enabled and was read.
    pub console: Option<Console>,
    /// Where its address stands, or would stand.
    pub url_place: Place,
}

/// Reads `store`.
pub fn store(top: &Section<'_>) -> Store {
    let default = Store { path: PathBuf::from(STORE_PATH), synchronous: Synchronous::default() };
    let Some(At { value, .. }) = top.text("store") else {
        return default;
    };
    match parse_store(&value) {
        Ok(store) => store,
        Err(message) => {
            top.problem("store", message);
            default
        }
    }
}

fn parse_store(given: &Text) -> Result<Store, String> {
    let (scheme, rest) = given.text.trim().split_once(':').unwrap_or(("", &given.text));
    // A URL of a server holds a password, so it is not shown.
    match scheme {
        "sqlite" => {}
        "postgres" | "postgresql" => {
            return Err("is not supported yet by this version (sqlite:PATH)".to_owned());
        }
        _ => return Err(format!("{} is not a store {STORE_FORMS}", shown(given))),
    }
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let synchronous = match options {
        "" | "synchronous=full" => Synchronous::Full,
        "synchronous=normal" => Synchronous::Normal,
        _ => return Err(format!("{} has an unknown option {STORE_FORMS}", shown(given))),
    };
    match path {
        "" => Err(format!("names no file {STORE_FORMS}")),
        ":memory:" => Err(format!("would be lost with the process {STORE_FORMS}")),
        // The database would take these for addresses and control text.
        path if path.starts_with("file:") || path.contains(char::is_control) => {
            Err(format!("{} does not name a file {STORE_FORMS}", shown(given)))
        }
        path => Ok(Store { path: PathBuf::from(path), synchronous }),
    }
}

/// Reads `console`. What is wrong is told also if it is not enabled.
pub fn console(section: &Section<'_>) -> RawConsole {
    let enabled = section.flag_or("enabled", false);
    if enabled {
        section.require("url", "like https://console.example.com");
    }
    let base = base(section);
    let sync_interval_seconds =
        section.number("sync_interval_seconds", &bound::SYNC_INTERVAL_SECONDS);
    let authorization = authorization(section);
    let console =
        base.filter(|_| enabled).map(|base| Console { base, sync_interval_seconds, authorization });
    RawConsole { console, url_place: section.place_of("url") }
}

fn base(section: &Section<'_>) -> Option<BaseUrl> {
    let At { value, .. } = section.text("url")?;
    // The text itself is not shown: a URL with a password in it is one of the errors.
    let base = BaseUrl::parse(value.text.trim(), false);
    base.map_err(|error| section.problem("url", error.to_string())).ok()
}

/// The value of `Authorization`; an empty key is none.
fn authorization(section: &Section<'_>) -> Option<HeaderValue> {
    let key = section.text("api_key")?.value.text;
    if key.trim().is_empty() {
        return None;
    }
    let Some(mut value) = header_value(&format!("Bearer {key}")) else {
        section.problem("api_key", "cannot stand in a header (visible ASCII only, no line breaks)");
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}
