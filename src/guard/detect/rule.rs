//! What a rule is: the literals that it begins with, the left edge it wants, and the form of the rest.

use super::Detector;
use super::look::Class;
use super::proof::Proof;

/// What must stand to the left of a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Anything.
    Any,
    /// No letter or digit.
    Word,
    /// Nothing that a number belongs to.
    Number,
    /// A hyphen that is glued to a word.
    Dash,
    /// Anything; only where a word begins the literal itself is part of the find.
    Name,
}

/// A part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A whole run of between so many characters.
    Run(Class, usize, usize),
    /// The first so many characters of a run, with no letter or digit after them.
    Exact(Class, usize),
    /// These very words.
    Says(&'static str),
}

/// The form of what follows a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// These parts one after another.
    Parts(&'static [Part], Proof),
    /// Nothing: the literal is the find.
    Words,
    /// Digits, `:AA`, and 33 characters.
    TelegramBot,
    /// A card number.
    Card,
    /// Three, two and four digits.
    Ssn,
    /// A bank account after its country.
    Iban,
    /// A telephone number.
    Phone,
    /// The domain of an e-mail address; its local part lies to the left.
    Email,
    /// A URL with a password.
    Url,
    /// A name to which a password is assigned.
    Assigned,
    /// A PEM block.
    Pem,
}

/// One kind of find.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name in findings.
    pub id: &'static str,
    /// The detector that it belongs to.
    pub detector: Detector,
    /// Its name in marks.
    pub mark: &'static str,
    /// What it begins with; any of these.
    pub literals: &'static [&'static str],
    /// What must stand to the left.
    pub edge: Edge,
    /// What follows.
    pub form: Form,
}

/// A key of known form.
pub const fn key(
    id: &'static str,
    mark: &'static str,
    literals: &'static [&'static str],
    form: Form,
) -> Rule {
    Rule { id, detector: Detector::ApiKey, mark, literals, edge: Edge::Word, form }
}
