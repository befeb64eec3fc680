//! The scan of one text that comes in pieces. Candidates are judged from left to right, each by a function of
//! the whole text alone, and only once no candidate further left can still appear: so every way of cutting a
//! text into pieces gives the same finds. Text passes up to the first candidate that is not refuted.

use std::collections::VecDeque;
use std::sync::Arc;

use aho_corasick::automaton::StateID;

use super::automaton::{LITERALS, Literals};
use super::look::{Look, Runs, Sight};
use super::policy::Policy;
use super::rule::{Edge, Form, Rule};
use super::{Action, Detector, contact, key, number, secret};
use crate::base::limit::GUARD_BLOCK_BYTES;

/// Bytes before the text in hand that are kept to look back at: more than any look to the left needs.
const BACK_BYTES: usize = 80;
/// Bytes that are let pile up before the text is moved to the front of its buffer.
const SLACK_BYTES: usize = 4 * 1024;

/// Whose numbers are digits from their beginning on.
const NUMBERS: u16 = Detector::ApiKey.bit() | Detector::Card.bit() | Detector::Ssn.bit();

/// One find.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    /// The rule that found it.
    pub rule: Rule,
    /// What is done about it.
    pub action: Action,
    /// Where it begins, in bytes from the beginning of the text.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

/// What becomes of the text.
pub trait Sink {
    /// This text goes on as it came.
    fn keep(&mut self, text: &[u8]);
    /// This was found; `text` is what goes away for it, and is empty if nothing does.
    fn found(&mut self, hit: &Hit, text: &[u8]);
}

/// A literal that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    start: usize,
    /// Where the literal ends.
    after: usize,
    literal: u16,
}

/// Candidates of one kind of action, from left to right.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// The detectors that it is for, as bits.
    detectors: u16,
    queue: VecDeque<Candidate>,
    /// Everything before this place belongs to a find.
    done: usize,
    /// What has been read where its candidates lie.
    runs: Runs,
}

impl Lane {
    fn push(&mut self, candidate: Candidate) {
        if candidate.start < self.done {
            return;
        }
        let before = |other: &Candidate| {
            (other.start, usize::MAX - other.after)
                <= (candidate.start, usize::MAX - candidate.after)
        };
        if self.queue.back().is_none_or(before) {
            self.queue.push_back(candidate);
            return;
        }
        let from_end = self.queue.iter().rev().take_while(|other| !before(other)).count();
        self.queue.insert(self.queue.len() - from_end, candidate);
    }

    fn drop_before(&mut self, done: usize) {
        self.done = done;
        while self.queue.front().is_some_and(|candidate| candidate.start < done) {
            self.queue.pop_front();
        }
    }
}

/// The part of the text that is kept.
#[derive(Clone, Debug, Default)]
struct Page {
    text: Vec<u8>,
    /// The place of its first byte.
    base: usize,
}

impl Page {
    fn end(&self) -> usize {
        self.base + self.text.len()
    }

    fn look<'a>(&'a self, runs: &'a mut Runs, is_last: bool) -> Look<'a> {
        Look { text: &self.text, base: self.base, is_last, runs }
    }

    fn span(&self, from: usize, to: usize) -> &[u8] {
        self.text.get(from - self.base..to - self.base).unwrap_or_default()
    }

    /// Whether the digit before a place goes on with a number, so that nothing begins there: what most literals
    /// in long numbers are about.
    fn is_in_number(&self, after: usize) -> bool {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        match self.text.get(..after - self.base) {
            // What ends in a digit may be a character by its number: `%22`, `\x22`, `\u0022`.
            Some([.., long, _, short, _, before, _]) => {
                is_digit(before) && !matches!(short, b'%' | b'x') && *long != b'u'
            }
            _ => false,
        }
    }

    /// Forgets what nobody will look at again, now and then.
    fn forget(&mut self, before: usize) {
        let gone = before.saturating_sub(self.base + BACK_BYTES);
        if gone > SLACK_BYTES {
            self.text.drain(..gone);
            self.base += gone;
        }
    }
}

/// The scan of one text.
#[derive(Clone, Debug)]
pub struct Scan {
    policy: Arc<Policy>,
    page: Page,
    /// What has been read at the end of the text.
    runs: Runs,
    /// Everything before this place has gone on.
    passed: usize,
    state: Option<StateID>,
    acting: Lane,
    watching: Lane,
    is_blocked: bool,
}

/// Where a find may still begin that nothing is known of yet.
struct Open {
    /// Of any detector, whatever stands to the left.
    any: usize,
    /// Of a detector that holds text back.
    held: usize,
}

impl Scan {
    /// Before any text.
    pub fn new(policy: Arc<Policy>) -> Self {
        let acting = Lane { detectors: policy.acting(), ..Lane::default() };
        let watching = Lane { detectors: policy.watching(), ..Lane::default() };
        Self {
            policy,
            page: Page::default(),
            runs: Runs::default(),
            passed: 0,
            state: LITERALS.as_ref().map(Literals::start),
            acting,
            watching,
            is_blocked: false,
        }
    }

    /// Whether something was found that ends the text. Nothing goes on after it.
    pub const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        if self.is_blocked { 0 } else { self.page.end() - self.passed }
    }

    /// More text.
    pub fn feed(&mut self, text: &[u8], sink: &mut impl Sink) {
        let Some(literals) = LITERALS.as_ref() else {
            // Without an automaton nothing can be judged, so nothing may pass.
            self.is_blocked = true;
            return;
        };
        for block in text.chunks(GUARD_BLOCK_BYTES) {
            self.step(literals, block, sink);
        }
    }

    /// The end of the text: what was held back is judged as it stands.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        let Some(literals) = LITERALS.as_ref().filter(|_| !self.is_blocked) else { return };
        let end = self.page.end();
        self.judge(literals, (end, true), sink);
        self.pass(end, sink);
    }

    fn step(&mut self, literals: &Literals, block: &[u8], sink: &mut impl Sink) {
        if self.is_blocked {
            return;
        }
        self.page.text.extend_from_slice(block);
        let state = self.spot(literals, block);
        self.state = Some(state);
        let open = self.open(literals, state);
        self.judge(literals, (open.any, false), sink);
        let live = self.held_from(literals);
        self.pass(live.map_or(open.held, |live| live.min(open.held)), sink);
        let watched = self.watching.queue.front().map_or(self.passed, |front| front.start);
        self.page.forget(self.passed.min(watched));
    }

    /// Steps through new text, and notes every literal in it.
    fn spot(&mut self, literals: &Literals, block: &[u8]) -> StateID {
        let from = self.page.end() - block.len();
        let mut state = self.state.unwrap_or_else(|| literals.start());
        for (after, byte) in (from + 1..).zip(block) {
            state = literals.next(state, *byte);
            if literals.is_match(state) && !(byte.is_ascii_digit() && self.page.is_in_number(after))
            {
                for literal in literals.matches(state) {
                    self.note(literals, *literal, after);
                }
            }
        }
        state
    }

    fn note(&mut self, literals: &Literals, number: u16, after: usize) {
        let detectors = self.policy.of_literal(number);
        if detectors == 0 {
            return;
        }
        let Some(literal) = literals.literals.get(usize::from(number)) else { return };
        let mut look = self.page.look(&mut self.runs, false);
        let mut start = after - literal.length;
        if !is_edge(&look, literal.edge, start) {
            return;
        }
        let may_be = match literal.edge {
            Edge::Number if detectors & !NUMBERS == 0 => {
                number::may_be_any(look.ahead(start, number::AHEAD))
            }
            Edge::Name => secret::may_be_assigned(look.ahead(after, 1)),
            _ => literal.gate.takes(&mut look, after),
        };
        if !may_be {
            return;
        }
        if detectors == Detector::Email.bit() {
            match contact::local_start(&look, start) {
                Some(local) => start = local,
                None => return,
            }
        }
        let candidate = Candidate { start, after, literal: number };
        for lane in [&mut self.acting, &mut self.watching] {
            if lane.detectors & detectors != 0 {
                lane.push(candidate);
            }
        }
    }

    /// Where the text may be in the middle of a literal, or of a word that an address could end.
    fn open(&mut self, literals: &Literals, state: StateID) -> Open {
        let (acting, watching) = (self.acting.detectors, self.watching.detectors);
        let look = self.page.look(&mut self.runs, false);
        let end = look.end();
        let partials = literals.partials(state);
        let any = partials.iter().map(|partial| end - partial.length).min();
        let held = partials.iter().filter(|partial| partial.detectors & acting != 0);
        let held =
            held.map(|partial| (end - partial.length, partial.edge)).filter(|(start, edge)| {
                match edge {
                    Edge::Name => secret::may_be_whole(&look, *start),
                    edge => is_edge(&look, *edge, *start),
                }
            });
        let held = held.map(|(start, _)| start).min();
        let mut open = Open { any: any.unwrap_or(end), held: held.unwrap_or(end) };
        if (acting | watching) & Detector::Email.bit() != 0 {
            let word = contact::local_start(&look, end).unwrap_or(end);
            open.any = open.any.min(word);
            if acting & Detector::Email.bit() != 0 {
                open.held = open.held.min(word);
            }
        }
        open
    }

    /// Judges the candidates that begin before `limit`, as far as can be told.
    fn judge(
        &mut self,
        literals: &Literals,
        (limit, is_last): (usize, bool),
        sink: &mut impl Sink,
    ) {
        while let Some(hit) = next_hit(&mut self.watching, (literals, limit), (&self.page, is_last))
        {
            sink.found(&self.hit(hit), &[]);
        }
        while let Some(found) = next_hit(&mut self.acting, (literals, limit), (&self.page, is_last))
        {
            let hit = self.hit(found);
            self.pass(hit.from, sink);
            self.is_blocked |= hit.action == Action::Block;
            if self.is_blocked {
                sink.found(&hit, &[]);
                return;
            }
            sink.found(&hit, self.page.span(self.passed, hit.to));
            self.passed = hit.to;
        }
    }

    fn hit(&self, (rule, from, to): Found) -> Hit {
        Hit { rule, action: self.policy.action(rule.detector), from, to }
    }

    /// Where the first live candidate begins that holds text back.
    fn held_from(&mut self, literals: &Literals) -> Option<usize> {
        let front = *self.acting.queue.front()?;
        let edge = literals.literals.get(usize::from(front.literal)).map(|literal| literal.edge);
        Some(match edge {
            Some(Edge::Name) => {
                let next = self.acting.queue.get(1).map_or(usize::MAX, |next| next.start);
                let look = self.page.look(&mut self.runs, false);
                secret::held_from(&look, front.start, front.after).min(next)
            }
            _ => front.start,
        })
    }

    fn pass(&mut self, to: usize, sink: &mut impl Sink) {
        if to > self.passed && !self.is_blocked {
            sink.keep(self.page.span(self.passed, to));
            self.passed = to;
        }
    }
}

/// A rule, and the span that it found.
type Found = (Rule, usize, usize);

fn is_edge(look: &Look<'_>, edge: Edge, start: usize) -> bool {
    match edge {
        Edge::Any | Edge::Name => true,
        Edge::Word => look.is_word_edge(start),
        Edge::Number => look.is_number_edge(start),
        Edge::Dash => look.is_dash_edge(start),
    }
}

/// The next find of a lane, if there is one before the first candidate that cannot be judged yet.
fn next_hit(
    lane: &mut Lane,
    (literals, limit): (&Literals, usize),
    (page, is_last): (&Page, bool),
) -> Option<Found> {
    while let Some(front) = lane.queue.front().filter(|front| front.start < limit) {
        let mut look = page.look(&mut lane.runs, is_last);
        match verdict(literals, (*front, lane.detectors), &mut look) {
            Err(_) => return None,
            Ok(None) => drop(lane.queue.pop_front()),
            Ok(Some(found)) => {
                match is_named_inside(literals, (&lane.queue, lane.detectors), found, &mut look) {
                    Err(_) => return None,
                    Ok(true) => drop(lane.queue.pop_front()),
                    Ok(false) => {
                        lane.drop_before(found.2);
                        return Some(found);
                    }
                }
            }
        }
    }
    None
}

/// Whether what is assigned to a name is a key of known form, which then names the find.
fn is_named_inside(
    literals: &Literals,
    (queue, detectors): (&VecDeque<Candidate>, u16),
    (rule, _, to): Found,
    look: &mut Look<'_>,
) -> Sight<bool> {
    if rule.form != Form::Assigned {
        return Ok(false);
    }
    for candidate in queue.iter().skip(1).take_while(|candidate| candidate.start < to) {
        let begins = !matches!(look.before(candidate.start, 1), Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/'));
        let found = if begins { verdict(literals, (*candidate, detectors), look)? } else { None };
        if found.is_some_and(|(inner, _, end)| inner.form != Form::Assigned && end + 2 >= to) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the first rule of a literal finds that belongs to these detectors and fits.
fn verdict(
    literals: &Literals,
    (candidate, detectors): (Candidate, u16),
    look: &mut Look<'_>,
) -> Sight<Option<Found>> {
    let Some(literal) = literals.literals.get(usize::from(candidate.literal)) else {
        return Ok(None);
    };
    for rule in literal.rules.iter().filter_map(|rule| literals.rules.get(usize::from(*rule))) {
        if rule.detector.bit() & detectors == 0 {
            continue;
        }
        if let Some((from, to)) = find(look, rule.form, candidate)? {
            return Ok(Some((*rule, from, to)));
        }
    }
    Ok(None)
}

fn find(look: &mut Look<'_>, form: Form, candidate: Candidate) -> Sight<Option<(usize, usize)>> {
    let Candidate { start, after, .. } = candidate;
    let end = match form {
        Form::Parts(parts, proof) => key::end(look, after, parts, proof)?,
        Form::Words => Some(after),
        Form::TelegramBot => number::bot_end(look, start)?,
        Form::Card => number::card_end(look, start)?,
        Form::Ssn => number::ssn_end(look, start)?,
        Form::Iban => number::iban_end(look, start)?,
        Form::Phone => contact::phone_end(look, start)?,
        Form::Email => contact::email_end(look, after)?,
        Form::Url => secret::url_end(look, after)?,
        Form::Assigned => return secret::assigned(look, start, after),
        Form::Pem => secret::pem_end(look, after)?,
    };
    Ok(end.map(|end| (start, end)))
}
