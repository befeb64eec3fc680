//! `weir guard`: learns the weights of the injection model from labelled texts, and says how well the guard
//! judges. Files in, figures out; what is learned and judged is `guard`'s.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::app;
use crate::base::hex::hex;
use crate::guard::eval::{self, Apart, Needle};
use crate::guard::pace::Pace;
use crate::guard::train::{self, Example, Plan};
use crate::guard::weights::{self, Origin};

/// What can be done with labelled texts.
#[derive(Debug, Subcommand)]
pub enum GuardCommand {
    /// Learn the injection model, and write it with cuts by out-of-fold scores and its figures
    Train {
        /// What to learn from
        #[command(flatten)]
        texts: Texts,
        /// Where the weights go
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print how well labelled texts are judged
    Eval(Eval),
}

/// What is judged.
#[derive(Debug, Args)]
pub struct Eval {
    /// Secrets and look-alikes for the output filter: JSON lines, maybe packed with gzip
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attacks", "benign"])]
    secrets: Option<PathBuf>,
    /// Harmless answers, to measure how soon they pass the output filter: JSON lines with a `text`, and a `slice`
    /// if figures are wanted apart, maybe packed with gzip; may be given more than once. They are cut into deltas
    /// by a rule: letters six bytes at most, digits three, marks and white space in runs, a blank with what
    /// follows it. Printed are the share of deltas after which nothing is held, for how many further deltas one
    /// is held in the mean, and the bytes that are held
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secrets", "attacks", "benign"])]
    answers: Vec<PathBuf>,
    /// Injections: JSON lines, maybe packed with gzip; may be given more than once. The project's own phrases
    /// among them (`weir:` as their source) teach and are not judged
    #[arg(long, value_name = "FILE", requires = "benign")]
    attacks: Vec<PathBuf>,
    /// Benign texts, as often
    #[arg(long, value_name = "FILE", requires = "attacks")]
    benign: Vec<PathBuf>,
    /// Injections inside of long benign texts
    #[arg(long, value_name = "FILE", requires = "benign")]
    needles: Option<PathBuf>,
    /// What stays together when texts are judged by weights that were learned without them; both are tried if
    /// neither is named
    #[arg(long, value_enum)]
    together: Option<Together>,
    /// Judge by this file as well, instead of the weights of the program
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Together {
    /// Near copies of one text
    Copies,
    /// All texts of one source
    Sources,
}

const BOTH: [(Apart, &str); 2] = [Together::Copies.named(), Together::Sources.named()];

impl Together {
    const fn named(self) -> (Apart, &'static str) {
        match self {
            Self::Copies => (Apart::Copies, "the text and its near copies (random fifths)"),
            Self::Sources => (Apart::Sources, "any text of the same source"),
        }
    }
}

/// The files to learn from.
#[derive(Debug, Args)]
pub struct Texts {
    /// Injections: JSON lines, maybe packed with gzip; may be given more than once
    #[arg(long, value_name = "FILE", required = true)]
    attacks: Vec<PathBuf>,
    /// Benign texts, as often
    #[arg(long, value_name = "FILE", required = true)]
    benign: Vec<PathBuf>,
}

/// Slices that have no explicit order, whose words are anybody's: judged, not learned from. `mention` quotes
/// attacks, and would unteach them.
const NOT_LEARNED: [&str; 4] = ["indirect_plain", "loose_deepset", "cse_soft", "mention"];
/// Benign slices that are reported apart from the share of false alarms.
const NOT_COUNTED: [&str; 4] = ["mention", "over_defence", "obf_control", "adversarial_benign"];

/// How the source of the project's own phrases starts.
const OWN: &str = "weir:";

/// Does what was asked.
pub fn run(command: GuardCommand) -> Result<(), String> {
    match command {
        GuardCommand::Train { texts, out } => learn(&texts, &out),
        GuardCommand::Eval(Eval { secrets: Some(secrets), .. }) => app::guard_eval(&secrets),
        GuardCommand::Eval(eval) if !eval.answers.is_empty() => measure(&eval.answers),
        GuardCommand::Eval(eval) => judge(&eval),
    }
}

/// What was read of the files.
#[derive(Default)]
struct Labelled {
    examples: Vec<Example>,
    places: HashMap<String, usize>,
    sources: BTreeSet<String>,
    digest: Sha256,
}

fn learn(texts: &Texts, out: &Path) -> Result<(), String> {
    let read = Labelled::of(&texts.attacks, &texts.benign)?;
    let examples = &read.examples;
    let plan = Plan::default();
    let (judged, _) = eval::out_of_fold((examples, &[]), Apart::Copies, &plan, app::say_error);
    let cuts = eval::cuts(examples, &judged);
    let learned: Vec<&Example> = examples.iter().filter(|it| it.is_for_training).collect();
    let samples = train::samples(&learned);
    let samples: Vec<&train::Sample> = samples.iter().collect();
    let mut model = train::learn(&plan, &samples, |round, all| {
        app::say_error(&format!("round {round} of {all}"));
    });
    (model.suspect, model.certain) = (cuts.suspect, cuts.certain);
    let origin = Origin {
        examples: hex(&read.digest.finalize()),
        sources: read.sources.into_iter().collect::<Vec<_>>().join("\n"),
        figures: eval::report(examples, &judged, &[], cuts),
    };
    fs::write(out, weights::write(&model, &origin)).map_err(|error| named(out, &error))?;
    app::say(&origin.figures);
    Ok(())
}

fn judge(eval: &Eval) -> Result<(), String> {
    if eval.attacks.is_empty() {
        return Err("name --secrets, --answers, or --attacks and --benign".to_owned());
    }
    let read = Labelled::of(&eval.attacks, &eval.benign)?;
    let examples = &read.examples;
    let needles = eval.needles.as_deref().map_or(Ok(Vec::new()), |file| read.needles(file))?;
    for (apart, whose) in eval.together.map_or(BOTH.to_vec(), |one| vec![one.named()]) {
        let plan = Plan::default();
        let (judged, found) = eval::out_of_fold((examples, &needles), apart, &plan, app::say_error);
        let cuts = eval::cuts(examples, &judged);
        app::say(&format!("by weights that were learned without {whose}:"));
        app::say(&eval::report(examples, &judged, &found, cuts));
    }
    let file = match &eval.weights {
        Some(file) => Some(
            weights::read(&fs::read(file).map_err(|error| named(file, &error))?)
                .map_err(|error| named(file, &error))?,
        ),
        None => None,
    };
    let model = match &file {
        Some(model) => model,
        None => weights::built_in().map_err(ToString::to_string)?,
    };
    let judged: Vec<_> = examples.iter().map(|it| eval::judged(model, &it.text)).collect();
    let found: Vec<_> = needles.iter().map(|it| eval::judged(model, &it.text)).collect();
    let cuts = eval::Cuts { suspect: model.suspect, certain: model.certain };
    app::say("by the file of weights, which has seen these texts:");
    app::say(&eval::report(examples, &judged, &found, cuts));
    Ok(())
}

fn measure(files: &[PathBuf]) -> Result<(), String> {
    let mut pace = Pace::default();
    for file in files {
        for (number, line) in (1..).zip(text(file)?.lines()) {
            let row = row_of(file, (number, line))?;
            let text = row["text"]
                .as_str()
                .ok_or_else(|| format!("{}: line {number}: no text", file.display()))?;
            pace.measure(row["slice"].as_str().unwrap_or("-"), text);
        }
    }
    app::say(&pace.table());
    Ok(())
}

fn row_of(file: &Path, (number, line): (usize, &str)) -> Result<Value, String> {
    serde_json::from_str(line)
        .map_err(|error| format!("{}: line {number}: {error}", file.display()))
}

impl Labelled {
    fn of(attacks: &[PathBuf], benign: &[PathBuf]) -> Result<Self, String> {
        let mut read = Self::default();
        let attacks = attacks.iter().map(|file| (file, true));
        for (file, is_attack) in attacks.chain(benign.iter().map(|file| (file, false))) {
            let text = text(file)?;
            read.digest.update(&text);
            for (number, line) in (1..).zip(text.lines()) {
                read.row(&row_of(file, (number, line))?, is_attack);
            }
        }
        Ok(read)
    }

    fn row(&mut self, row: &Value, is_attack: bool) {
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let (slice, licence) = (field("slice"), field("licence"));
        // Weights ship: what may not be used commercially is not learned from.
        let is_for_training = !licence.contains("-NC") && !NOT_LEARNED.contains(&&*slice);
        if is_for_training {
            let source = field("source");
            let source = source.split(':').next().unwrap_or_default().to_owned();
            self.sources.insert(format!("{source} ({licence})"));
        }
        let is_own = field("source").starts_with(OWN);
        self.places.insert(field("id"), self.examples.len());
        self.examples.push(Example {
            text: field("text"),
            is_attack,
            is_for_training,
            is_for_cuts: !is_attack && !is_own && !NOT_COUNTED.contains(&&*slice),
            is_own,
            source: field("source"),
            lang: field("lang"),
            slice,
        });
    }

    fn needles(&self, file: &Path) -> Result<Vec<Needle>, String> {
        let text = text(file)?;
        let needle = |line: &str| {
            let row: Value = serde_json::from_str(line).ok()?;
            let base = *self.places.get(row["base_id"].as_str()?)?;
            let text = &self.examples[base].text;
            let at = usize::try_from(row["insert_at"].as_u64()?).ok()?;
            let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
            let attack = row["attack_text"].as_str()?;
            Some(Needle { base, text: format!("{}\n{attack}\n{}", &text[..at], &text[at..]) })
        };
        let all = (1..).zip(text.lines());
        all.map(|(number, line)| {
            needle(line).ok_or_else(|| {
                format!("{}: line {number} is no needle in these texts", file.display())
            })
        })
        .collect()
    }
}

fn text(file: &Path) -> Result<String, String> {
    let opened = File::open(file).map_err(|error| named(file, &error))?;
    let is_packed = file.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> =
        if is_packed { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) };
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|error| named(file, &error))?;
    Ok(text)
}

fn named(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
