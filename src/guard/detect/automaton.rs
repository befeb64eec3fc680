//! One automaton over the literals of all rules, built whole: its cost is two nanoseconds a byte whatever the
//! text is, and its state is one number that is carried from chunk to chunk. Beside it stands what each state
//! may still become, which tells exactly how much of a text must be held back.

use std::collections::HashMap;
use std::sync::LazyLock;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, MatchKind, StartKind};

use super::look::{Class, Look, is_of};
use super::rule::{Edge, Form, Part, Rule};
use super::rules::RULES;

/// A literal, and the rules that begin with it, the first that fits first.
#[derive(Clone, Debug)]
pub struct Literal {
    /// Its length in bytes.
    pub length: usize,
    /// What must stand to its left.
    pub edge: Edge,
    /// Its rules, as places in `Literals::rules`.
    pub rules: Vec<u16>,
    /// What must follow, whichever of its rules fits.
    pub gate: Gate,
}

/// How many bytes after a literal are looked at one by one.
const FIRST: usize = 4;

/// What must follow a literal: so many bytes of these classes. With it most of what only begins like a secret is
/// passed over before it waits in line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// How many bytes; nothing is asked for if there are none.
    pub least: usize,
    /// The classes, as bits.
    pub classes: u16,
    /// The run that follows, if all rules want one of the same class, and its longest.
    pub run: Option<(Class, usize)>,
}

impl Gate {
    /// What the rules of a literal have in common.
    fn of(rules: &[Rule], places: &[u16]) -> Self {
        let forms = places.iter().filter_map(|at| rules.get(usize::from(*at)));
        let first = forms.map(|rule| match rule.form {
            Form::Parts([Part::Run(class, least, most), ..], _) => {
                Self { least: *least, classes: class.bit(), run: Some((*class, *most)) }
            }
            Form::Parts([Part::Exact(class, least), ..], _) => {
                Self { least: *least, classes: class.bit(), run: None }
            }
            // The two digits of its check follow the country.
            Form::Iban => Self { least: 2, classes: Class::Digit.bit(), run: None },
            Form::Url => Self { least: 1, classes: Class::Url.bit(), run: None },
            _ => Self::default(),
        });
        first.reduce(Self::or).unwrap_or_default()
    }

    fn or(self, other: Self) -> Self {
        let run = match (self.run, other.run) {
            (Some((one, most)), Some((class, more))) if one == class => {
                Some((class, most.max(more)))
            }
            _ => None,
        };
        let (least, classes) = (self.least.min(other.least), self.classes | other.classes);
        Self { least, classes, run }
    }

    /// Whether what is known of the text after a literal may be that.
    pub fn takes(self, look: &mut Look<'_>, after: usize) -> bool {
        let Some(last) = self.least.checked_sub(1) else { return true };
        let known = self.run.and_then(|(class, most)| look.known_run(class, after, most + 1));
        if let (Some(length), Some((_, most))) = (known, self.run) {
            return (self.least..=most).contains(&length);
        }
        let seen = look.ahead(after, self.least);
        let fits = |at: usize| seen.get(at).is_none_or(|byte| is_of(self.classes, *byte));
        let is_begun = seen.iter().take(FIRST).all(|byte| is_of(self.classes, *byte));
        if !(is_begun && fits(last / 2) && fits(last)) {
            return false;
        }
        let Some((class, most)) = self.run else { return true };
        !look.run(class, after, most + 1).is_ok_and(|run| run < self.least || run > most)
    }
}

/// A literal that the text may end inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// How many bytes of it are there.
    pub length: usize,
    /// What must stand to its left.
    pub edge: Edge,
    /// The detectors that it is of, as bits.
    pub detectors: u16,
}

/// All literals in one automaton.
pub struct Literals {
    /// Every rule.
    pub rules: Vec<Rule>,
    /// Every literal, by the number that the automaton knows it by.
    pub literals: Vec<Literal>,
    dfa: DFA,
    start: StateID,
    /// What the numbers of states are multiples of, as a power of two: the tables by state stay small with it.
    shift: u32,
    /// By state: where the literals that end there begin in `hits`, and how many there are.
    hits_at: Vec<(u32, u32)>,
    hits: Vec<u16>,
    /// By state: where its partials begin in `partials`, and how many there are.
    ends: Vec<(u32, u32)>,
    partials: Vec<Partial>,
}

/// The literals of all rules. It is built when it is first needed, in some milliseconds.
pub static LITERALS: LazyLock<Option<Literals>> = LazyLock::new(|| Literals::of(RULES));

impl Literals {
    /// The automaton of some rules; `None` if it would be too large to build.
    pub fn of(rules: &[&[Rule]]) -> Option<Self> {
        let rules: Vec<Rule> = rules.iter().copied().flatten().copied().collect();
        let (words, literals) = distinct(&rules);
        let dfa = DFA::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .prefilter(false)
            .build(&words)
            .ok()?;
        let start = dfa.start_state(Anchored::No).ok()?;
        let mut built = Self {
            rules,
            literals,
            dfa,
            start,
            shift: 0,
            hits_at: Vec::new(),
            hits: Vec::new(),
            ends: Vec::new(),
            partials: Vec::new(),
        };
        built.know_ends(&words);
        Some(built)
    }

    /// The state before any text.
    pub const fn start(&self) -> StateID {
        self.start
    }

    /// The state after one more byte.
    #[inline]
    pub fn next(&self, state: StateID, byte: u8) -> StateID {
        self.dfa.next_state(Anchored::No, state, byte)
    }

    /// Whether a literal ends here.
    #[inline]
    pub fn is_match(&self, state: StateID) -> bool {
        self.dfa.is_match(state)
    }

    /// The literals that end here.
    #[inline]
    pub fn matches(&self, state: StateID) -> &[u16] {
        let (from, count) = self.hits_at.get(self.place(state)).copied().unwrap_or_default();
        self.hits.get(from as usize..(from + count) as usize).unwrap_or_default()
    }

    /// The literals that a text in this state may end inside of, those that began first come first.
    pub fn partials(&self, state: StateID) -> &[Partial] {
        let (from, count) = self.ends.get(self.place(state)).copied().unwrap_or_default();
        self.partials.get(from as usize..(from + count) as usize).unwrap_or_default()
    }

    /// The place of a state in the tables.
    #[inline]
    fn place(&self, state: StateID) -> usize {
        state.as_usize() >> self.shift
    }

    /// The states after each beginning of a word.
    fn states(&self, word: &[u8]) -> impl Iterator<Item = StateID> {
        word.iter().scan(self.start, |state, byte| {
            *state = self.next(*state, *byte);
            Some(*state)
        })
    }

    fn know_ends(&mut self, words: &[&str]) {
        let all = words.iter().flat_map(|word| self.states(word.as_bytes()));
        let bits = all.fold(self.start.as_usize(), |bits, state| bits | state.as_usize());
        self.shift = bits.checked_ilog2().map_or(0, |_| bits.trailing_zeros());
        let mut prefixes: HashMap<&[u8], Vec<Partial>> = HashMap::new();
        for (word, literal) in words.iter().zip(&self.literals) {
            for length in 1..word.len() {
                let partial = Partial { length, edge: literal.edge, detectors: self.bits(literal) };
                add(prefixes.entry(&word.as_bytes()[..length]).or_default(), partial);
            }
        }
        for word in words.iter().map(|word| word.as_bytes()) {
            for length in 1..=word.len() {
                let seen = &word[..length];
                let state = seen.iter().fold(self.start, |state, byte| self.next(state, *byte));
                let ends = (0..length).filter_map(|from| prefixes.get(&seen[from..])).flatten();
                let ends: Vec<Partial> = ends.copied().collect();
                self.set_ends(state, &ends);
                self.set_hits(state);
            }
        }
    }

    fn set_hits(&mut self, state: StateID) {
        let at = self.place(state);
        if self.hits_at.len() <= at {
            self.hits_at.resize(at + 1, (0, 0));
        }
        if !self.dfa.is_match(state) || self.hits_at[at].1 > 0 {
            return;
        }
        let from = u32::try_from(self.hits.len()).unwrap_or(u32::MAX);
        let all = (0..self.dfa.match_len(state)).map(|hit| self.dfa.match_pattern(state, hit));
        self.hits.extend(all.filter_map(|literal| u16::try_from(literal.as_usize()).ok()));
        let count = self.hits.len().saturating_sub(from as usize);
        self.hits_at[at] = (from, u32::try_from(count).unwrap_or_default());
    }

    fn set_ends(&mut self, state: StateID, ends: &[Partial]) {
        let at = self.place(state);
        if self.ends.len() <= at {
            self.ends.resize(at + 1, (0, 0));
        }
        let from = u32::try_from(self.partials.len()).unwrap_or(u32::MAX);
        self.ends[at] = (from, u32::try_from(ends.len()).unwrap_or_default());
        self.partials.extend_from_slice(ends);
    }

    fn bits(&self, literal: &Literal) -> u16 {
        let rules = literal.rules.iter().filter_map(|rule| self.rules.get(usize::from(*rule)));
        rules.fold(0, |bits, rule| bits | rule.detector.bit())
    }
}

/// One entry for each edge; the detectors are joined.
fn add(partials: &mut Vec<Partial>, partial: Partial) {
    match partials.iter_mut().find(|known| known.edge == partial.edge) {
        Some(known) => known.detectors |= partial.detectors,
        None => partials.push(partial),
    }
}

/// Each literal with each edge once.
fn distinct(rules: &[Rule]) -> (Vec<&'static str>, Vec<Literal>) {
    let (mut words, mut literals) = (Vec::new(), Vec::<Literal>::new());
    for (number, rule) in (0_u16..).zip(rules) {
        for word in rule.literals {
            let same =
                |(known, literal): (&&str, &Literal)| *known == *word && literal.edge == rule.edge;
            if let Some(at) = words.iter().zip(&literals).position(same) {
                literals[at].rules.push(number);
            } else {
                words.push(*word);
                let length = word.len();
                let (edge, rules, gate) = (rule.edge, vec![number], Gate::default());
                literals.push(Literal { length, edge, rules, gate });
            }
        }
    }
    for literal in &mut literals {
        literal.gate = Gate::of(rules, &literal.rules);
    }
    (words, literals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_after(literals: &Literals, text: &str) -> StateID {
        text.bytes().fold(literals.start(), |state, byte| literals.next(state, byte))
    }

    #[test]
    fn a_state_knows_what_it_may_become() {
        let literals = LITERALS.as_ref().unwrap();
        let lengths = |text: &str| -> Vec<usize> {
            let state = state_after(literals, text);
            let mut lengths: Vec<_> = literals.partials(state).iter().map(|p| p.length).collect();
            lengths.dedup();
            lengths
        };
        assert_eq!(lengths("plain text, "), [0; 0]);
        assert_eq!(lengths("xx sk-an"), [5, 1], "`sk-an` and the `n` of `npm_`");
        assert_eq!(lengths("gh"), [2, 1]);
        assert_eq!(lengths("ghp_"), [0; 0], "complete, and nothing longer begins with it");
    }

    /// What is passed over in numbers without a look is the second digit of something longer nowhere.
    #[test]
    fn no_literal_ends_in_two_digits() {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        for rule in RULES.iter().copied().flatten() {
            for literal in rule.literals.iter().map(|literal| literal.as_bytes()) {
                if let [.., before, last] = literal {
                    assert!(!(is_digit(before) && is_digit(last)), "{}", rule.id);
                } else if is_digit(&literal[0]) {
                    assert_eq!(rule.edge, Edge::Number, "{}", rule.id);
                }
            }
        }
    }

    #[test]
    fn rules_with_one_literal_share_it() {
        let literals = LITERALS.as_ref().unwrap();
        let state = state_after(literals, "sk-");
        let found = literals.matches(state);
        assert_eq!(found.len(), 1);
        assert_eq!(literals.literals[usize::from(found[0])].rules.len(), 2);
    }
}
