//! What leaves the gateway is searched for what must not: secrets, numbers of people and accounts, the canary.
//!
//! It stands behind the relay and sees what the client would get, in the client's dialect, so that answers that
//! were translated and answers that were not take one way. Each text field of each choice has a state of its
//! own. Bytes in which nothing is held back or changed pass as the very buffers they came in; an event that
//! changes keeps its place and its shape. Text that is still held when its field ends goes out in a last event
//! of that field.
//!
//! Fields of streams are not joined: a secret that is cut in two between blocks, parts or calls is not found there,
//! and neither is one that is spread over fields of a kind that nobody knows yet. To find it, the end of each block
//! in whose last words something could begin would have to wait, with all that follows, until the next one has
//! gone on; what has been let through of it stays a secret's beginning else. The events that say a part again at
//! its end would have to be cut at the same places. In whole answers, texts that readers see as one are searched
//! as one too.
//!
//! `field` is one text, `walk` finds texts in JSON, `event` reads the events of each dialect, `begin` the texts
//! that begin in them, `beside` comments and data that are no objects, `document` whole answers, `across` what
//! goes over the end of a text there, `echo` what repeats the request, `seal` signatures of what was changed,
//! `closing` ends a stream that must not go on, `tally` counts. What is told to people about a find is decided by
//! whoever reads `Outflow::record`.

pub mod across;
pub mod begin;
pub mod beside;
pub mod closing;
pub mod cut;
pub mod document;
pub mod echo;
pub mod event;
pub mod field;
pub mod open;
pub mod seal;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::base::fault::{Code, Fault};
use crate::base::limit::{GUARD_FIELDS_MAX, SSE_EVENT_BYTES_MAX};
use crate::base::surface::Surface;
use crate::config::guards::{Guards, OnFailure};
use crate::dialect::canonical::marks::UNSIGNED;
use crate::exchange::outflow::cut::{Cut, Looked, changed};
use crate::exchange::outflow::event::{Ends, Key, Parsed, Said, Way};
use crate::exchange::outflow::field::{Field, Seam};
use crate::exchange::outflow::open::{Last, Open, last};
use crate::exchange::outflow::tally::Tally;
use crate::exchange::outflow::walk::What;
use crate::guard::detect::Action;
use crate::guard::filter::Finding;
use crate::guard::{self, canary::Token};
use crate::record::GuardRecord;
use crate::wire::sse::{self, Decoder};
use crate::wire::syntax::Span;

/// What is looked for in the answers of one exchange.
#[derive(Clone)]
pub struct Terms {
    /// What is done about finds, and about failures.
    pub guards: Arc<Guards>,
    /// The search for the canary that stands in the request, made once for all texts.
    pub canary: Option<guard::canary::Canary>,
    /// The token itself, to know the line that it stands in.
    pub token: Option<Token>,
    /// Where each search breaks.
    pub seam: Seam,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("guards", &self.guards).finish_non_exhaustive()
    }
}

impl Terms {
    /// The terms of an exchange, if anything is looked for in its answer.
    pub fn of(guards: &Arc<Guards>, token: Option<Token>) -> Option<Self> {
        let looks = guards.output.is_some() || token.is_some();
        let canary = token.as_ref().map(guard::canary::Canary::new);
        looks.then(|| Self { guards: Arc::clone(guards), canary, token, seam: Seam::default() })
    }

    /// Whether answers on that surface are texts.
    pub const fn covers(surface: Surface) -> bool {
        matches!(
            surface,
            Surface::Chat | Surface::Completions | Surface::Messages | Surface::Responses
        )
    }

    fn field(&self, what: What) -> Field {
        Field::new(self, what)
    }
}

/// Why an answer must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Something was found that blocks.
    Found,
    /// The canary was in it.
    Canary,
    /// It could not be looked at.
    Failed,
}

impl Stop {
    /// The refusal in words that give nothing away.
    pub fn fault(self) -> Fault {
        let message = match self {
            Self::Found => "the answer held something that must not get out",
            Self::Canary => "the answer gave away what must not get out",
            Self::Failed => "the guard could not look at the answer",
        };
        Fault::new(Code::OutputBlocked, message)
    }
}

/// What came of a piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// What may go on.
    pub bytes: Bytes,
    /// Why nothing may follow it.
    pub stop: Option<Stop>,
}

/// The search of one stream.
#[derive(Debug)]
pub struct Outflow {
    terms: Terms,
    surface: Surface,
    decoder: Decoder,
    /// The beginning of an event that is not whole yet.
    tail: BytesMut,
    /// Offset of the first byte of `tail`.
    tail_at: u64,
    fields: BTreeMap<Key, Open>,
    /// Fields of which something was taken out, until their group ends.
    redacted: BTreeSet<Key>,
    /// What is held after the event at hand, by field: it counts once the event has been dealt with.
    pending: Vec<(Key, Option<Last>)>,
    tally: Tally,
    /// What a stream needs to be ended well.
    frame: closing::Frame,
    /// Nothing is searched any more: nothing passes (`true`), or everything does.
    over: Option<bool>,
}

impl Outflow {
    /// The search of a stream that begins.
    pub fn new(terms: Terms, surface: Surface) -> Self {
        Self {
            terms,
            surface,
            decoder: Decoder::new(),
            tail: BytesMut::new(),
            tail_at: 0,
            fields: BTreeMap::new(),
            redacted: BTreeSet::new(),
            pending: Vec::new(),
            tally: Tally::default(),
            frame: closing::Frame::default(),
            over: None,
        }
    }

    /// Whether the canary was seen.
    pub const fn canary_leaked(&self) -> bool {
        self.tally.canary_leaked()
    }

    /// What was found so far.
    pub fn record(&self) -> Option<GuardRecord> {
        self.tally.record()
    }

    /// The next bytes of the stream; `end` if they are the last. After a stop, nothing goes on.
    pub fn feed(&mut self, bytes: Bytes, end: bool) -> Passed {
        if let Some(stop) = self.over {
            let bytes = if stop { Bytes::new() } else { bytes };
            return Passed { bytes, stop: None };
        }
        let at = self.tail_at;
        let tail = (!self.tail.is_empty()).then(|| {
            let mut tail = std::mem::take(&mut self.tail);
            tail.extend_from_slice(&bytes);
            tail
        });
        let whole = tail.as_deref().unwrap_or(&bytes);
        let look = AssertUnwindSafe(|| self.look(whole, &bytes, end));
        let looked = catch_unwind(look).unwrap_or_else(|_| {
            let mut out = Vec::new();
            let stop = self.give_up(&mut out);
            if stop.is_none() {
                out.extend_from_slice(whole);
            }
            Looked { ready: whole.len(), changed: Some(out), stop }
        });
        let Looked { ready, changed, stop } = looked;
        self.tail_at = at + ready as u64;
        let same = self.keep_tail(tail, &bytes, ready);
        if stop.is_some() {
            self.over = Some(true);
        }
        Passed { bytes: changed.map_or(same, Bytes::from), stop }
    }

    /// A part has broken. What a panic leaves behind is not to be trusted: it is not asked again. What was held
    /// before the event at hand goes out as it came, where what cannot be looked at passes.
    fn give_up(&mut self, out: &mut Vec<u8>) -> Option<Stop> {
        self.over = Some(false);
        self.pending.clear();
        let fields = std::mem::take(&mut self.fields);
        let stop = self.tally.failed(self.terms.guards.on_failure);
        if stop.is_none() {
            for last in fields.values().filter_map(|open| open.last.as_ref()) {
                last.write(self.surface, &last.held, out);
            }
        }
        stop
    }

    /// Keeps what is not ready, and gives back what is. What waits is never copied again.
    fn keep_tail(&mut self, tail: Option<BytesMut>, bytes: &Bytes, ready: usize) -> Bytes {
        if let Some(mut tail) = tail {
            let same = tail.split_to(ready);
            self.tail = tail;
            return same.freeze();
        }
        self.tail.extend_from_slice(&bytes[ready..]);
        bytes.slice(..ready)
    }

    /// The bytes that end the stream after a stop.
    pub fn closing(&self, stop: Stop) -> Bytes {
        Bytes::from(self.frame.closing(self.surface, &stop.fault()))
    }

    /// Looks at `bytes`, which are the last of `whole`.
    fn look(&mut self, whole: &[u8], bytes: &[u8], end: bool) -> Looked {
        let at = self.tail_at;
        let mut decoder = std::mem::take(&mut self.decoder);
        let mut cut = Cut { whole, base: at, done: 0, out: Vec::new(), stop: None, is_open: false };
        decoder.feed(bytes, |event| self.take(&event, &mut cut));
        // Before `at` if an event goes on of which the beginning has been let through.
        let open = decoder.open_start().checked_sub(at);
        let mut ready = open
            .and_then(|open| usize::try_from(open).ok())
            .map_or(whole.len(), |it| it.min(whole.len()));
        if end {
            decoder.finish(|event| {
                cut.is_open = !event.terminated;
                self.take(&event, &mut cut);
            });
        }
        if end || self.over.is_some() {
            ready = whole.len();
        }
        self.decoder = decoder;
        let Cut { done, mut out, mut stop, is_open, .. } = cut;
        if stop.is_none() && whole.len() - ready > SSE_EVENT_BYTES_MAX {
            // No event may wait for its end for ever; what there is of it passes, or nothing does.
            stop = self.tally.failed(self.terms.guards.on_failure);
            out.extend_from_slice(if stop.is_some() {
                &whole[done.min(ready)..ready]
            } else {
                b""
            });
            ready = whole.len();
        }
        if stop.is_some() {
            return Looked { ready, changed: Some(out), stop };
        }
        let (mut rest, stop) = if end { self.last_flush() } else { (Vec::new(), None) };
        if is_open && (stop.is_some() || !rest.is_empty()) {
            // What follows would be read as a part of it.
            rest = [b"\n\n", &rest[..]].concat();
        }
        if done == 0 && out.is_empty() && rest.is_empty() {
            return Looked { ready, changed: None, stop };
        }
        out.extend_from_slice(&whole[done.min(ready)..ready]);
        out.extend_from_slice(&rest);
        Looked { ready, changed: Some(out), stop }
    }

    /// Takes one event; what becomes of it goes into `cut`.
    fn take(&mut self, event: &sse::Event<'_>, cut: &mut Cut<'_>) {
        // What began before has been let through, and counted, already.
        if cut.stop.is_some() || self.over.is_some() || event.range.start < cut.base {
            return;
        }
        let (done, out) = (cut.done, cut.out.len());
        let look = AssertUnwindSafe(|| self.take_whole(event, &mut *cut));
        if catch_unwind(look).is_err() {
            cut.done = done;
            cut.out.truncate(out);
            cut.keep_until(event.range.start);
            cut.stop = self.give_up(&mut cut.out);
        }
        for (key, last) in self.pending.drain(..) {
            if let Some(open) = self.fields.get_mut(&key) {
                open.last = last;
            }
        }
    }

    /// What is left when the stream ends.
    fn last_flush(&mut self) -> (Vec<u8>, Option<Stop>) {
        let look = AssertUnwindSafe(|| self.flush(&[Ends::All]));
        catch_unwind(look).unwrap_or_else(|_| {
            let mut out = Vec::new();
            let stop = self.give_up(&mut out);
            (out, stop)
        })
    }

    fn take_whole(&mut self, event: &sse::Event<'_>, cut: &mut Cut<'_>) {
        if event.oversized {
            cut.stop = self.tally.failed(self.terms.guards.on_failure);
            if cut.stop.is_some() {
                cut.keep_until(event.range.start);
            }
            return;
        }
        let Some((event, lines)) = beside::rest(&self.terms, event, cut, &mut self.tally) else {
            return;
        };
        let (event, lines) = (&event, lines.as_deref());
        let parsed = event::parse(self.surface, event);
        let mut changes = self.changes(event, &parsed);
        let (held, stop) = self.ending(&parsed);
        changes.before.extend_from_slice(&held);
        changes.stop = changes.stop.or(stop);
        let unsigned = parsed.signatures.iter().filter(|(of, _)| self.redacted.contains(of));
        changes.edits.extend(unsigned.map(|(_, span)| (*span, UNSIGNED.as_bytes().to_vec())));
        changes.edits.sort_by_key(|(span, _)| span.start);
        for ends in &parsed.ends {
            self.redacted.retain(|key| !ends.covers_all_of(key.group));
        }
        if changes.stop.is_none() {
            self.frame.note(self.surface, event);
        }
        let is_same = changes.edits.is_empty() && lines.is_none();
        if changes.before.is_empty() && is_same && changes.stop.is_none() {
            return;
        }
        cut.keep_until(event.range.start);
        cut.out.extend_from_slice(&changes.before);
        match lines {
            _ if changes.stop.is_some() => {}
            Some(lines) if changes.edits.is_empty() => cut.put(event, lines),
            lines => cut.replace(event, (lines, &changed(event.data, &changes.edits))),
        }
        // An event that must not go on is not shown at all: what else is in it was not looked at.
        cut.stop = changes.stop;
    }

    /// Sends the texts of an event through their fields.
    fn changes(&mut self, event: &sse::Event<'_>, parsed: &Parsed) -> Changes {
        let mut changes = Changes::default();
        if let Some(group) = parsed.opens {
            self.begin_anew(&[Ends::Group(group)], &mut changes);
            self.redacted.retain(|key| key.group != group);
        }
        for said in &parsed.texts {
            let stop = self.said(event, (parsed, said), &mut changes);
            changes.stop = changes.stop.or(stop);
            if changes.stop.is_some() {
                return changes;
            }
        }
        for span in &parsed.wholes {
            let found = document::text(&self.terms, event.data, *span);
            self.tally.add(&found.findings, parsed.repeats);
            changes.touched.extend(found.replacement.is_some().then_some(parsed.group));
            changes.edits.extend(found.replacement.map(|with| (found.span, with)));
            let stop = self.tally.judge(self.terms.guards.canary, found.against);
            changes.stop = changes.stop.or(stop);
        }
        changes.edits.extend(seal::broken(self.surface, event.data, &changes.edits));
        for (group, span, empty) in &parsed.logprobs {
            if changes.touched.contains(group) {
                changes.edits.push((*span, empty.as_bytes().to_vec()));
            }
        }
        changes.edits.extend(echo::instructions(&self.terms, self.surface, event.data));
        changes.edits.sort_by_key(|(span, _)| span.start);
        changes
    }

    /// Sends one piece of text through its field; why the answer must not go on, if it must not.
    fn said(
        &mut self,
        event: &sse::Event<'_>,
        (parsed, said): (&Parsed, &Said),
        changes: &mut Changes,
    ) -> Option<Stop> {
        let raw = said.span.of(event.data);
        let begins = matches!(said.way, Way::Start(_));
        if begins && self.fields.get(&said.key).is_some_and(|open| open.begun != raw) {
            self.begin_anew(&[Ends::Field(said.key)], changes);
        }
        let known = self.fields.get(&said.key);
        let is_so_far = match said.way {
            Way::SoFar => true,
            Way::More => known.is_some_and(|open| open.is_so_far),
            // What was begun already is said again.
            Way::Start(_) => known.is_some(),
        };
        let is_kept = !(is_so_far && begins);
        if is_kept && let Err(stop) = self.make_room(said.key) {
            return Some(stop);
        }
        // Text that is said again and again is searched from its beginning each time.
        let mut again = is_so_far.then(|| Open::new(&self.terms, said.is_json, true));
        let open = if let Some(open) = &mut again {
            open
        } else {
            let fresh = || Open::new(&self.terms, said.is_json, false);
            self.fields.entry(said.key).or_insert_with(fresh)
        };
        let held = open.field.held();
        let mut out = Vec::with_capacity(raw.len());
        open.field.feed(raw, &mut out);
        if parsed.ends(said.key) {
            open.field.finish(&mut out);
        }
        let (held_now, against) = (open.field.held(), open.field.against());
        if held > 0 || held_now > 0 || out != raw {
            changes.touched.push(said.key.group);
        }
        let last = (held_now > 0).then(|| {
            let before = if is_so_far { out.clone() } else { Vec::new() };
            last(event, (parsed, said), (before, open.field.held_text()))
        });
        open.begun = if begins { raw.to_vec() } else { Vec::new() };
        // What was found is counted as it is found, so that a stream that breaks off is counted too.
        let findings = open.field.take_findings();
        self.count(said.key, &findings, is_so_far);
        if let Some(mut open) = again.filter(|_| is_kept) {
            open.last = self.fields.get_mut(&said.key).and_then(|known| known.last.take());
            self.fields.insert(said.key, open);
        }
        if is_kept {
            self.pending.push((said.key, last));
        }
        if out != raw {
            changes.edits.push((said.span, out));
        }
        self.tally.judge(self.terms.guards.canary, against)
    }

    /// Ends what a provider begins once more though it has not ended it: what is held of it is told before.
    fn begin_anew(&mut self, ends: &[Ends], changes: &mut Changes) {
        let (held, stop) = self.flush(ends);
        changes.before.extend_from_slice(&held);
        changes.stop = changes.stop.or(stop);
    }

    fn count(&mut self, key: Key, findings: &[Finding], repeats: bool) {
        self.tally.add(findings, repeats);
        if findings.iter().any(|found| found.action == Action::Redact) {
            self.redacted.insert(key);
        }
    }

    /// Whether there is room for a field.
    fn make_room(&mut self, key: Key) -> Result<(), Stop> {
        if self.fields.len() < GUARD_FIELDS_MAX || self.fields.contains_key(&key) {
            return Ok(());
        }
        Err(self.tally.failed(OnFailure::Block).unwrap_or(Stop::Failed))
    }

    /// What must go out before an event that ends fields.
    fn ending(&mut self, parsed: &Parsed) -> (Vec<u8>, Option<Stop>) {
        if parsed.ends.is_empty() { (Vec::new(), None) } else { self.flush(&parsed.ends) }
    }

    /// Ends fields: what is still held of them, as last events, and why nothing may follow.
    fn flush(&mut self, ends: &[Ends]) -> (Vec<u8>, Option<Stop>) {
        let is_over = |key: &&Key| ends.iter().any(|ends| ends.covers(**key));
        let keys: Vec<Key> = self.fields.keys().filter(is_over).copied().collect();
        let (mut out, mut stop) = (Vec::new(), None);
        for key in &keys {
            let Some(open) = self.fields.get_mut(key) else { continue };
            let mut rest = Vec::new();
            open.field.finish(&mut rest);
            let (findings, found) = (open.field.take_findings(), open.field.against());
            if let Some(last) = open.last.as_ref().filter(|_| !rest.is_empty()) {
                last.write(self.surface, &rest, &mut out);
            }
            let repeats = open.is_so_far;
            self.count(*key, &findings, repeats);
            // What was held to the last may be what must not go out.
            let found = self.tally.judge(self.terms.guards.canary, found);
            stop = stop.or(found);
        }
        // Not before all of them are done: if one breaks, what the others held is not lost.
        self.fields.retain(|key, _| !keys.contains(key));
        (out, stop)
    }
}

/// What becomes of one event.
#[derive(Debug, Default)]
struct Changes {
    /// Events that go out before it.
    before: Vec<u8>,
    /// Places of its data and what stands there instead, in order.
    edits: Vec<(Span, Vec<u8>)>,
    /// Groups whose text is held back or changed.
    touched: Vec<u64>,
    stop: Option<Stop>,
}
