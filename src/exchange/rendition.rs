//! A request as a provider of another dialect hears it, and what it takes to bring the answer back.
//!
//! It is made once for each kind of provider that a plan leads to, and from then on stands in for what
//! was asked: the same edits, the same bounds, the same caps apply to it. Requests in the provider's own
//! dialect have none and pay nothing.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::fault::{Code, Fault};
use crate::base::limit::TRANSLATED_OUTPUT_CAP;
use crate::base::surface::Surface;
use crate::config::catalog::{Model, Translation};
use crate::dialect::canonical::style::{Memory, Style, Target};
use crate::dialect::translate::Passage;
use crate::exchange::asked::{self, Asked};
use crate::exchange::{Exchange, Now};
use crate::upstream::provider::Provider;
use crate::wire::weigh::Weight;

/// A translated request.
#[derive(Debug)]
pub struct Rendition {
    /// What is asked of the provider, in its dialect.
    pub asked: Asked,
    /// The way between the client's dialect and this one.
    pub passage: Passage,
    /// What was done to names, for the way back.
    pub memory: Arc<Memory>,
    /// The fields that were left out.
    pub dropped: Vec<String>,
    /// The version of the API to ask for.
    pub version: Option<&'static str>,
    /// Its body, weighed for the worst case.
    pub weight: Option<Weight>,
    /// For which kind of provider it was made.
    made_for: MadeFor,
}

/// All that a translation depends on beside the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MadeFor {
    surface: Surface,
    target: Target,
    translation: Translation,
}

impl MadeFor {
    fn of(provider: &Provider, model: Option<&Model>, surface: Surface) -> Self {
        let most = model.and_then(|model| model.output_tokens_max);
        let target = Target {
            output_cap_field: provider.abilities.output_cap_field.name(),
            output_cap_default: most.unwrap_or(TRANSLATED_OUTPUT_CAP).min(TRANSLATED_OUTPUT_CAP),
            keeps_cache_marks: provider.is_openrouter(),
            ask_usage: provider.abilities.ask_usage,
        };
        let translation = model.map(|model| model.translation).unwrap_or_default();
        Self { surface, target, translation }
    }
}

/// The path of a surface.
const fn path(surface: Surface) -> &'static str {
    match surface {
        Surface::Messages => "/v1/messages",
        Surface::Responses => "/v1/responses",
        _ => "/v1/chat/completions",
    }
}

/// Translates what was asked for that kind of provider.
fn translate(asked: &Asked, passage: Passage, made_for: MadeFor) -> Result<Rendition, Fault> {
    let strict = made_for.translation == Translation::Strict;
    let translated = passage
        .request(&asked.body, &made_for.target, strict)
        .map_err(|refused| refused.fault())?;
    let body = Bytes::from(translated.body);
    let envelope = asked::scan(made_for.surface, &http::HeaderMap::new(), &body)?;
    let (target, principal) = (path(made_for.surface).to_owned(), asked.principal.clone());
    // A wider window is asked for by a header of the client's dialect, which stays behind.
    let mut rendered = Asked::new(made_for.surface, principal, target, (body, envelope));
    rendered.wish.model.clone_from(&asked.wish.model);
    rendered.session.clone_from(&asked.session);
    Ok(Rendition {
        asked: rendered,
        passage,
        memory: Arc::new(translated.memory),
        dropped: translated.dropped,
        version: translated.version,
        weight: None,
        made_for,
    })
}

impl Exchange {
    /// What the current provider is asked: what the client asked, or its translation.
    pub fn heard(&self) -> &Asked {
        self.rendition.as_ref().map_or(&self.asked, |rendition| &rendition.asked)
    }

    /// Whether the current provider speaks another dialect than the client.
    pub const fn is_translated(&self) -> bool {
        self.rendition.is_some()
    }

    /// Makes the translation that the current candidate needs; keeps the one that is there if it fits.
    ///
    /// # Errors
    /// `invalid_request` with the field that cannot be translated.
    pub(super) fn render(&mut self) -> Result<(), Fault> {
        let Some(current) = &self.current else { return Ok(()) };
        let provider = Arc::clone(&current.provider);
        let Some(surface) = provider.surface_for(self.asked.surface) else {
            let message = format!("provider `{}` does not have this path", provider.name);
            return Err(Fault::new(Code::InvalidRequest, message));
        };
        let Some(passage) = Passage::between(self.asked.surface, surface) else {
            if self.rendition.take().is_some() {
                self.counted = None;
            }
            return Ok(());
        };
        let made_for = MadeFor::of(&provider, self.current_model(), surface);
        if self.rendition.as_ref().is_none_or(|rendition| rendition.made_for != made_for) {
            self.rendition = None;
            // Another body has other tokens.
            self.counted = None;
            self.rendition = Some(Box::new(translate(&self.asked, passage, made_for)?));
        }
        Ok(())
    }

    /// The fields that the translation left out, for `x-gateway-dropped-params`; `None` if there are none.
    pub fn dropped_fields(&self) -> Option<String> {
        let dropped = &self.rendition.as_ref()?.dropped;
        (!dropped.is_empty()).then(|| dropped.join(", "))
    }

    /// How the translated answer is to be written.
    pub(super) fn style(&self, now: Now) -> Option<(Passage, Style)> {
        let rendition = self.rendition.as_ref()?;
        let style = Style {
            request_id: self.id.to_string(),
            created: now.unix_ms / 1_000,
            model: self.shown_model().to_owned(),
            stream_usage: self.asked.wish.usage,
            memory: Arc::clone(&rendition.memory),
        };
        Some((rendition.passage, style))
    }
}
