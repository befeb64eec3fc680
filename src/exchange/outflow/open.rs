//! A field whose text is still coming, and the event that what is held back of it can go out in.
//!
//! What is held back is the filter's business.

use bytes::Bytes;

use crate::base::surface::Surface;
use crate::exchange::outflow::Terms;
use crate::exchange::outflow::beside::is_name;
use crate::exchange::outflow::event::{self, Parsed, Said, Way};
use crate::exchange::outflow::field::Field;
use crate::exchange::outflow::walk::What;
use crate::wire::sse::{self, write_event};
use crate::wire::syntax::Span;

/// A field whose text is still coming.
#[derive(Debug)]
pub struct Open {
    /// Its search.
    pub field: Field,
    /// The last event in which text of it was held back.
    pub last: Option<Last>,
    /// Each event says all of it that there is so far.
    pub is_so_far: bool,
    /// The text that it was begun with, as it came, as long as there is no more of it.
    pub begun: Vec<u8>,
}

impl Open {
    /// A field at its beginning.
    pub fn new(terms: &Terms, is_json: bool, is_so_far: bool) -> Self {
        let what = if is_json { What::Json } else { What::Text };
        Self { field: terms.field(what), last: None, is_so_far, begun: Vec::new() }
    }
}

/// An event in which text was held back.
#[derive(Debug)]
pub struct Last {
    name: Option<String>,
    data: Bytes,
    /// Where the text stood.
    span: Span,
    /// What stands before what was held, if that is said again with it.
    before: Vec<u8>,
    /// What was held, as it came.
    pub held: Vec<u8>,
}

impl Last {
    /// Writes the event with that text for what was held.
    pub fn write(&self, surface: Surface, rest: &[u8], out: &mut Vec<u8>) {
        let text = [&self.before[..], rest].concat();
        let data = event::with_rest(surface, (&self.data, self.span), &text);
        write_event(out, self.name.as_deref(), &data);
    }
}

/// The event that says what is held back, later.
pub fn last(
    event: &sse::Event<'_>,
    (parsed, said): (&Parsed, &Said),
    (before, held): (Vec<u8>, Vec<u8>),
) -> Last {
    let begun = match said.way {
        Way::Start(at) => parsed.begun.get(at),
        Way::More | Way::SoFar => None,
    };
    if let Some(more) = begun {
        let (name, data) = (Some(more.name.clone()), Bytes::copy_from_slice(&more.data));
        return Last { name, data, span: more.span, before, held };
    }
    let name = event.name.filter(|name| is_name(name));
    let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
    Last { name, data: Bytes::copy_from_slice(event.data), span: said.span, before, held }
}
