//! Which rules come true in a text, and where: 64 places at a time, the words of an idea as bits of one number.
//!
//! Hot path: `benches/guard_in.rs`. An idea may be of use to thirty rules. To look at each of them for each word
//! costs more than all else of the word; here each rule is looked at once for all places of a block, and only if
//! all of its parts are somewhere in that block or the one before. What a rule is worth is not known here.

use std::sync::OnceLock;

use crate::guard::lexicon::{self, IDEAS};
use crate::guard::rules::{Hit, PARTS_MAX, REST, RULES};
use crate::guard::tokens::Token;

/// Places of one block. No rule looks farther back than to the block before.
pub const BLOCK: u32 = u64::BITS;

/// Numbers of ideas that rules may know, with that of none.
const IDEAS_END: usize = IDEAS.len() + 1;
const _: () = assert!(IDEAS_END <= 128, "a bit for each");

/// A bit for each rule.
type Set = [u64; RULES.len().div_ceil(64)];

/// A rule, ready to be looked for.
struct Form {
    /// The ideas that would do, for each part.
    parts: Vec<Vec<u8>>,
    within: u32,
    in_order: bool,
}

/// All rules, ready to be looked for.
struct Forms {
    rules: Vec<Form>,
    /// By idea and part: the rules for whose part it would do.
    fills: [[Set; PARTS_MAX]; IDEAS_END],
    /// By part: the rules that have none such.
    lacking: [Set; PARTS_MAX],
}

fn forms() -> &'static Forms {
    static FORMS: OnceLock<Forms> = OnceLock::new();
    FORMS.get_or_init(|| {
        let numbers = |names: &&str| names.split_whitespace().map(lexicon::idea).collect();
        let form = |rule: &crate::guard::rules::Rule| Form {
            parts: rule.parts.iter().map(numbers).collect(),
            within: rule.within,
            in_order: rule.in_order,
        };
        let rules: Vec<Form> = RULES.iter().map(form).collect();
        let mut fills = [[Set::default(); PARTS_MAX]; IDEAS_END];
        let mut lacking = [Set::default(); PARTS_MAX];
        for (number, rule) in rules.iter().enumerate() {
            let (at, bit) = (number / 64, 1 << (number % 64));
            for (part, ideas) in rule.parts.iter().enumerate() {
                for idea in ideas {
                    fills[usize::from(*idea)][part][at] |= bit;
                }
            }
            lacking[rule.parts.len()..].iter_mut().for_each(|set| set[at] |= bit);
        }
        Forms { rules, fills, lacking }
    })
}

/// How far the rules have come in a text.
pub struct Progress {
    /// Where each idea was met: the places of the block before, and above them those of the block in hand.
    met: [u128; IDEAS_END],
    /// A bit for each idea that was met in the block before, and in the one in hand.
    ideas: [u128; 2],
    /// By part: the rules for whose part an idea was met in the block before.
    before: [Set; PARTS_MAX],
    /// The first place at which each rule may come true again.
    rested: [u32; RULES.len()],
    /// Whether one of them came true.
    has_hits: bool,
    /// Where the words with ideas start, by the last digits of their places.
    starts: [usize; 2 * BLOCK as usize],
    /// Where those of the block in hand end.
    ends: [usize; BLOCK as usize],
    /// The first place of the block in hand.
    base: u32,
    forms: &'static Forms,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            met: [0; IDEAS_END],
            ideas: [0; 2],
            before: [Set::default(); PARTS_MAX],
            rested: [0; RULES.len()],
            has_hits: false,
            starts: [0; 2 * BLOCK as usize],
            ends: [0; BLOCK as usize],
            base: 0,
            forms: forms(),
        }
    }
}

impl Progress {
    /// Starts anew, with another text.
    pub fn restart(&mut self) {
        self.forget();
        self.base = 0;
        if std::mem::take(&mut self.has_hits) {
            self.rested.fill(0);
        }
    }

    /// Whether a place is behind the block in hand, which then has to be finished first.
    #[inline]
    pub const fn is_beyond(&self, place: u32) -> bool {
        place - self.base >= BLOCK
    }

    /// Takes the next word that has an idea. It must not be beyond the block in hand.
    #[inline]
    pub fn meet(&mut self, token: &Token) {
        let (idea, at) = (usize::from(token.idea), token.place % BLOCK);
        // What tells of text that runs backwards is of no use to rules.
        let Some(met) = self.met.get_mut(idea) else { return };
        *met |= 1 << (BLOCK + at);
        self.ideas[1] |= 1 << idea;
        self.starts[(token.place % (2 * BLOCK)) as usize] = token.start;
        self.ends[at as usize] = token.end;
    }

    /// Ends the block in hand: tells which rules come true in it, each with its place there. Those of one rule
    /// come in order.
    pub fn finish(&mut self, mut hit: impl FnMut(u32, Hit)) {
        let forms = self.forms;
        let mut now = [Set::default(); PARTS_MAX];
        for idea in bits(self.ideas[1]) {
            for (now, fills) in now.iter_mut().zip(&forms.fills[idea as usize]) {
                now.iter_mut().zip(fills).for_each(|(now, fills)| *now |= fills);
            }
        }
        for at in 0..now[0].len() {
            let parts = || now.iter().zip(&self.before).zip(&forms.lacking);
            let touched = now.iter().fold(0, |touched, now| touched | now[at]);
            let full = parts().fold(touched, |full, ((now, before), lacking)| {
                full & (now[at] | before[at] | lacking[at])
            });
            for bit in bits(u128::from(full)) {
                self.look(64 * at + bit as usize, &mut hit);
            }
        }
        self.before = now;
    }

    /// Goes on to the block of a place, behind the one in hand.
    pub fn go_on(&mut self, place: u32) {
        let base = place - place % BLOCK;
        if base == self.base + BLOCK {
            for idea in bits(self.ideas[0] | self.ideas[1]) {
                self.met[idea as usize] >>= BLOCK;
            }
            self.ideas = [self.ideas[1], 0];
        } else {
            self.forget();
        }
        self.base = base;
    }

    /// Nothing has been met.
    fn forget(&mut self) {
        for idea in bits(self.ideas[0] | self.ideas[1]) {
            self.met[idea as usize] = 0;
        }
        self.ideas = [0; 2];
        self.before = [Set::default(); PARTS_MAX];
    }

    /// Looks where in the block a rule comes true.
    fn look(&mut self, rule: usize, hit: &mut impl FnMut(u32, Hit)) {
        let Some(form) = self.forms.rules.get(rule) else { return };
        let (mut left, parts) = form.places(&self.met);
        let mut from = self.rested[rule].saturating_sub(self.base);
        loop {
            left &= u64::MAX.checked_shl(from).unwrap_or(0);
            if left == 0 {
                return;
            }
            let at = left.trailing_zeros();
            from = at + REST + 1;
            self.rested[rule] = self.base + from;
            self.has_hits = true;
            let before = u128::MAX >> (BLOCK - 1 - at);
            let last =
                parts.iter().take(form.parts.len()).map(|part| (part & before).leading_zeros());
            let back = last.max().map_or(0, |zeros| BLOCK + at + zeros - (u128::BITS - 1));
            let start = self.starts[((self.base + at).wrapping_sub(back) % (2 * BLOCK)) as usize];
            let end = self.ends[at as usize];
            hit(at, Hit { rule: u8::try_from(rule).unwrap_or(u8::MAX), start, end });
        }
    }
}

impl Form {
    /// At which places of the block the rule is true, were it not for its rest, and where its parts are.
    fn places(&self, met: &[u128; IDEAS_END]) -> (u64, [u128; PARTS_MAX]) {
        let mut parts = [0; PARTS_MAX];
        let (mut near, mut touched) = (u128::MAX, 0);
        for (part, ideas) in parts.iter_mut().zip(&self.parts) {
            let part: &mut u128 = part;
            *part = ideas.iter().fold(0, |part, idea| part | met[usize::from(*idea)]);
            near &= reach(*part, u128::MAX, self.within);
            touched |= *part;
            if near >> BLOCK == 0 {
                return (0, parts);
            }
        }
        if self.in_order {
            // The last part is the word itself. Of the others each was met behind the one before it.
            let (last, others) = parts[..self.parts.len()].split_last().unwrap_or((&0, &[]));
            touched = *last;
            for pair in others.windows(2) {
                near &= reach(pair[1], !pair[0], self.within);
            }
        }
        (u64::try_from((near & touched) >> BLOCK).unwrap_or(0), parts)
    }
}

/// The places from which on so many others follow one of `from` in a row that are all of `through`, and itself.
#[inline]
const fn reach(from: u128, through: u128, most: u32) -> u128 {
    let (mut reached, mut open, mut by) = (from, through, 0);
    while by < most {
        let step = if by + 1 < most - by { by + 1 } else { most - by };
        reached |= open & (reached << step);
        open &= open << step;
        by += step;
    }
    reached
}

/// The places of the bits that are set.
fn bits(mut of: u128) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let at = (of != 0).then(|| of.trailing_zeros())?;
        of &= of - 1;
        Some(at)
    })
}

/// The rules that come true in a text, with the places of the words that made them true, in order.
pub fn hits(words: impl IntoIterator<Item = Token>) -> Vec<(u32, Hit)> {
    hits_in(&mut Progress::default(), words)
}

fn hits_in(progress: &mut Progress, words: impl IntoIterator<Item = Token>) -> Vec<(u32, Hit)> {
    let mut hits = Vec::new();
    for token in words {
        if progress.is_beyond(token.place) {
            let base = progress.base;
            progress.finish(|at, hit| hits.push((base + at, hit)));
            progress.go_on(token.place);
        }
        progress.meet(&token);
    }
    let base = progress.base;
    progress.finish(|at, hit| hits.push((base + at, hit)));
    hits.sort_unstable_by_key(|(place, hit)| (*place, hit.rule));
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `Progress`, but each rule looks at all places by itself.
    fn hits_by_hand(tokens: &[Token]) -> Vec<Hit> {
        let mut met = vec![[None::<(u32, usize)>; PARTS_MAX]; RULES.len()];
        let (mut last, mut hits) = (vec![None::<u32>; RULES.len()], Vec::new());
        for token in tokens {
            for (number, rule) in RULES.iter().enumerate() {
                let has = |names: &&str| names.split(' ').any(|it| lexicon::idea(it) == token.idea);
                let Some(part) = rule.parts.iter().position(has) else { continue };
                met[number][part] = Some((token.place, token.start));
                let met: Option<Vec<_>> = met[number][..rule.parts.len()].iter().copied().collect();
                let Some(met) = met else { continue };
                let is_near = met.iter().all(|it| it.0 + rule.within >= token.place);
                let is_rested = last[number].is_none_or(|last| token.place > last + REST);
                if is_near && is_rested && (!rule.in_order || met.is_sorted_by(|a, b| a.0 < b.0)) {
                    last[number] = Some(token.place);
                    let start = met.iter().map(|it| it.1).min().unwrap_or_default();
                    hits.push(Hit { rule: u8::try_from(number).unwrap(), start, end: token.end });
                }
            }
        }
        hits
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rules_come_true_as_if_each_looked_for_itself(
            texts in prop::collection::vec(
                prop::collection::vec((1_u8..=127, prop_oneof![20 => 1_u32..6, 2 => 1_u32..90, 1 => 1_u32..40_000]), 0..160), 1..4,
            ),
            few in any::<bool>(),
        ) {
            let mut progress = Progress::default();
            for text in texts {
                let mut place = 0;
                let tokens: Vec<Token> = text.into_iter().map(|(idea, gap)| {
                    place += gap;
                    let start = 7 * place as usize;
                    Token { hash: 0, idea: if few { 1 + idea % 24 } else { idea }, place, start, end: start + 5 }
                }).collect();
                progress.restart();
                let hits: Vec<Hit> = hits_in(&mut progress, tokens.clone()).into_iter().map(|it| it.1).collect();
                prop_assert_eq!(&hits, &hits_by_hand(&tokens));
            }
        }
    }
}
