//! Has the tool results of a request shortened before its plan is made, where that is switched on.
//!
//! Large bodies are read on a thread that carries no streams.

use crate::base::fault::{Code, Fault};
use crate::base::limit::SHORTENED_INLINE_BYTES_MAX;
use crate::config::current::Current;
use crate::exchange::asked::Asked;
use crate::exchange::mutation;
use crate::mutate::tool_results;
use crate::proxy::ctx::Ctx;
use crate::wire::texts;

/// Shortens the tool results of `asked`, and notes in the draft what that saves.
///
/// # Errors
/// `internal`, if the changed body does not fit.
pub async fn tool_results(
    ctx: &mut Ctx,
    current: &Current,
    asked: &mut Asked,
) -> Result<(), Fault> {
    let Some(settings) = mutation::tool_results(current, asked) else { return Ok(()) };
    let found = if asked.body.len() <= SHORTENED_INLINE_BYTES_MAX {
        tool_results::shorten(&asked.body, asked.texts(), &settings)
    } else {
        let body = asked.body.clone();
        let work = move || tool_results::shorten(&body, &texts::texts(&body), &settings);
        let broken = |_| Fault::new(Code::Internal, "the tool results could not be read");
        tokio::task::spawn_blocking(work).await.map_err(broken)?
    };
    ctx.draft.saved_tokens = mutation::tokens(found.saved_bytes);
    asked.amend(found.edits)
}
