//! `weir init`: a few questions on the terminal, and a configuration that works.
//!
//! What is asked is checked by `config::first` at once, and asked again with the reason. Nothing is written
//! before the last answer.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::app::random;
use crate::base::limit::TYPED_BYTES_MAX;
use crate::base::money::NanoUsd;
use crate::config::first::{self, Answers, Budget, Choice, Own, Secrets};
use crate::engine::source;
use crate::identity::key;
use crate::ledger::account::Cadence;
use crate::setup::new_files::{self, NewFile};

/// What a budget is unless said otherwise.
const BUDGET: &str = "10.00";

/// How the command is called.
pub struct Wish {
    /// Nobody is asked.
    pub yes: bool,
    /// Files that are there are overwritten.
    pub force: bool,
    /// Where the configuration goes; `.env` goes beside it.
    pub output: PathBuf,
}

/// Asks, and writes both files.
///
/// # Errors
/// A file in the way, an end of the answers, no randomness.
pub fn run(wish: &Wish) -> Result<(), String> {
    let env_path = wish.output.with_file_name(".env");
    let new = |path: &Path, text: &str, secret| NewFile {
        path: path.to_owned(),
        text: text.to_owned(),
        secret,
    };
    // Before anybody has typed an answer for nothing.
    if !wish.force {
        new_files::all_free(&[&wish.output, &env_path])?;
    }
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let answers = if wish.yes {
        by_default(&environment)?
    } else {
        let is_terminal = io::stdin().is_terminal();
        let mut talk = Talk { input: io::stdin().lock(), output: io::stdout(), is_terminal };
        ask_all(&mut talk, &environment)?
    };
    let secrets = Secrets {
        admin_key: key::fresh(&random()?).key,
        agent_key: key::fresh(&random()?).key,
        kms_key: random()?,
    };
    let files = first::files(&answers, &secrets);
    let names = [answers.choice.key_variable(), "WEIR_ADMIN_KEY", "WEIR_AGENT_KEY", "WEIR_KMS_KEY"];
    let env = match fs::read_to_string(&env_path) {
        Ok(there) => joined(&there, &files.env),
        Err(error) if error.kind() == io::ErrorKind::NotFound => files.env,
        Err(error) => return Err(format!("{}: {error}", env_path.display())),
    };
    let written = [new(&wish.output, &files.yaml, false), new(&env_path, &env, true)];
    new_files::write(&written, wish.force)?;
    for name in names {
        // The environment goes before `.env`, so what was just written would not count.
        if environment(name).is_some_and(|_| !wish.yes || name.starts_with("WEIR_")) {
            crate::app::say(&format!(
                "note: {name} is set in your environment, and goes before .env"
            ));
        }
    }
    crate::app::say(&next_steps(&answers, &secrets, &wish.output));
    Ok(())
}

/// The text of a `.env` that is there, with ours behind it: what others have put there stays. What cannot be
/// read stays as a comment, because it would make the whole file unreadable.
fn joined(there: &str, ours: &str) -> String {
    let is_ours = |line: &&str| {
        let name = variable(line);
        ours.lines().any(|own| own == *line || name.is_some() && variable(own) == name)
    };
    let there = there.trim_start_matches('\u{feff}');
    let kept: Vec<&str> = there.lines().filter(|line| !is_ours(line)).collect();
    let with = |kept: &[String]| match kept.join("\n") {
        kept if kept.trim().is_empty() => ours.to_owned(),
        kept => format!("{}\n\n{ours}", kept.trim()),
    };
    let whole = with(&kept.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    if source::is_readable(&whole) {
        return whole;
    }
    let mended = |line: &&str| {
        if source::is_readable(line) { (*line).to_owned() } else { format!("# {line}") }
    };
    with(&kept.iter().map(mended).collect::<Vec<_>>())
}

/// The variable that a line sets.
fn variable(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    Some(name.trim()).filter(|name| !name.starts_with('#'))
}

/// What scripts get: the first provider whose key is in the environment, else one on this machine.
fn by_default(environment: &dyn Fn(&str) -> Option<String>) -> Result<Answers, String> {
    let with_key = Choice::ALL.into_iter().filter(|choice| *choice != Choice::Compatible);
    let found =
        with_key.into_iter().find_map(|choice| Some((choice, environment(choice.key_variable())?)));
    let agent = first::FIRST_AGENT.to_owned();
    let Some((choice, key)) = found else {
        let own =
            Own { base_url: first::LOCAL_URL.to_owned(), model: first::LOCAL_MODEL.to_owned() };
        return Ok(Answers {
            choice: Choice::Compatible,
            own: Some(own),
            key: None,
            agent,
            budget: None,
        });
    };
    let key = first::key(&key).map_err(|why| format!("{}: {why}", choice.key_variable()))?;
    let limit = NanoUsd::parse_usd(BUDGET).map_err(|error| error.to_string())?;
    let budget = Some(Budget { limit, period: Cadence::Daily });
    Ok(Answers { choice, own: None, key: Some(key), agent, budget })
}

/// The two ends of a conversation.
struct Talk<I, O> {
    input: I,
    output: O,
    is_terminal: bool,
}

/// A question, and the answer that an empty line stands for.
struct Question<'a> {
    text: &'a str,
    default: &'a str,
}

impl<I: BufRead, O: Write> Talk<I, O> {
    /// Asks until the answer is one.
    fn ask<T>(
        &mut self,
        question: &Question<'_>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        loop {
            let default = question.default;
            let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
            self.say(&format!("{}{shown}: ", question.text))?;
            let line = self.line()?;
            match check(if line.is_empty() { default } else { &line }) {
                Ok(answer) => return Ok(answer),
                Err(why) => self.say(&format!("  {why}\n"))?,
            }
        }
    }

    /// The same for what must not be seen, as far as the terminal lets itself be told.
    fn ask_secret<T>(
        &mut self,
        question: &Question<'_>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        let hidden = if self.is_terminal { Hidden::begin() } else { None };
        let seen = self.is_terminal && hidden.is_none();
        if seen {
            self.say("  (this terminal cannot hide it: it will be seen as you type)\n")?;
        }
        let answer = self.ask(question, check);
        if hidden.is_some() {
            self.say("\n")?;
        }
        answer
    }

    fn say(&mut self, text: &str) -> Result<(), String> {
        let said = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        said.map_err(|error| format!("nobody can be asked: {error}"))
    }

    /// One line without its end and without blanks around it.
    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.input.by_ref().take(TYPED_BYTES_MAX).read_line(&mut line);
        match read {
            Ok(0) => {
                Err("the answers ended too early; nothing was written (--yes asks nothing)"
                    .to_owned())
            }
            Ok(_) if !line.ends_with('\n') && line.len() as u64 >= TYPED_BYTES_MAX => {
                Err("that answer is too long; nothing was written".to_owned())
            }
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(format!("the answer cannot be read: {error}; nothing was written")),
        }
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden;

impl Hidden {
    fn begin() -> Option<Self> {
        stty("-echo").then_some(Self)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// Tells the terminal behind the standard input; whether it listened.
fn stty(setting: &str) -> bool {
    let mut command = Command::new("stty");
    let command = command.arg(setting).stdin(Stdio::inherit()).stdout(Stdio::null());
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn ask_all<I: BufRead, O: Write>(
    talk: &mut Talk<I, O>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Answers, String> {
    talk.say(
        "Who answers? 1 openai, 2 anthropic, 3 openrouter, 4 compatible (any OpenAI-like URL)\n",
    )?;
    let choice = talk.ask(&Question { text: "Provider", default: "openai" }, first::choice)?;
    let own = if choice == Choice::Compatible { Some(ask_own(talk)?) } else { None };
    let key = ask_key(talk, choice, environment)?;
    let agent = Question { text: "Id of the first agent", default: first::FIRST_AGENT };
    let agent = talk.ask(&agent, first::name)?;
    let default = if own.is_some() { "none" } else { BUDGET };
    let limit = Question { text: "Its budget in USD, or none", default };
    let limit = talk.ask(&limit, first::limit)?;
    let budget = match limit {
        None => None,
        Some(limit) => {
            let text = "Per (none = for ever, hourly, daily, weekly, monthly)";
            let period = talk.ask(&Question { text, default: "daily" }, first::period)?;
            Some(Budget { limit, period })
        }
    };
    Ok(Answers { choice, own, key, agent, budget })
}

fn ask_own<I: BufRead, O: Write>(talk: &mut Talk<I, O>) -> Result<Own, String> {
    let url = Question { text: "Its base URL", default: first::LOCAL_URL };
    let base_url = talk.ask(&url, first::base_url)?;
    let model = Question { text: "A model that it has", default: first::LOCAL_MODEL };
    Ok(Own { base_url, model: talk.ask(&model, first::name)? })
}

/// A key of the environment is offered, but never shown.
fn ask_key<I: BufRead, O: Write>(
    talk: &mut Talk<I, O>,
    choice: Choice,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, String> {
    let variable = choice.key_variable();
    let known = environment(variable).filter(|key| first::key(key).is_ok());
    let hint = match (&known, choice) {
        (Some(_), _) => format!(" (empty: that of {variable} in your environment)"),
        (None, Choice::Compatible) => " (empty: it needs none)".to_owned(),
        (None, _) => String::new(),
    };
    let text = format!("Its API key{hint}");
    talk.ask_secret(&Question { text: &text, default: "" }, |line| match (line, &known) {
        ("", Some(key)) => Ok(Some(key.clone())),
        ("", None) if choice == Choice::Compatible => Ok(None),
        (line, _) => first::key(line).map(Some),
    })
}

/// What to do now. The agent's key is shown this once; it is in `.env` as well.
fn next_steps(answers: &Answers, secrets: &Secrets, output: &Path) -> String {
    let (file, key, model) = (output.display(), &secrets.agent_key, answers.example_model());
    let (path, more) = match answers.choice {
        Choice::Anthropic => ("/v1/messages", ",\"max_tokens\":256"),
        _ => ("/v1/chat/completions", ""),
    };
    let body = format!(
        "{{\"model\":{},\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]{more}}}",
        serde_json::Value::from(model)
    );
    let body = body.replace('\'', "'\\''");
    format!(
        "written: {file} and .env beside it (secrets, for you alone)\n\n\
         the key of {}: {key}\n\n\
         next:\n  weir check -c {file}\n  weir serve -c {file}\n  \
         curl http://127.0.0.1:8080{path} -H 'authorization: Bearer {key}' \\\n    \
         -H 'content-type: application/json' -d '{body}'",
        answers.agent
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(input: &str) -> (Result<Answers, String>, String) {
        let mut said = Vec::new();
        let mut talk = Talk { input: input.as_bytes(), output: &mut said, is_terminal: false };
        let answers = ask_all(&mut talk, &|_| None);
        (answers, String::from_utf8(said).unwrap())
    }

    #[test]
    fn empty_lines_take_what_is_offered() {
        let (answers, said) = talk("\nsk-key\n\n\n\n");
        let answers = answers.unwrap();
        assert_eq!((answers.choice, answers.key.as_deref()), (Choice::OpenAi, Some("sk-key")));
        assert_eq!(answers.agent, first::FIRST_AGENT);
        let budget = answers.budget.unwrap();
        assert_eq!((budget.limit.to_string(), budget.period), ("10".to_owned(), Cadence::Daily));
        assert!(!said.contains("sk-key"), "{said}");
    }

    #[test]
    fn bad_answers_are_asked_again_with_the_reason() {
        let input = "azure\ncompatible\nnowhere\nhttp://h/v1\nllama 3\nllama3\n\nmy agent\nci\nmuch\n5\nyearly\nnone\n";
        let (answers, said) = talk(input);
        let answers = answers.unwrap();
        let own = answers.own.unwrap();
        assert_eq!((&*own.base_url, &*own.model), ("http://h/v1", "llama3"));
        assert!(said.contains("\"azure\" is not one of openai"), "{said}");
        for why in ["is not a URL", "no blanks", "\"much\"", "\"yearly\""] {
            assert!(said.contains(why), "{why}: {said}");
        }
    }

    #[test]
    fn an_end_of_the_answers_ends_it() {
        for input in ["", "openai\n", "openai\nsk\nci\n5\n", "openai\n\n\n\n"] {
            assert!(talk(input).0.unwrap_err().contains("nothing was written"), "{input:?}");
        }
        assert!(talk(&"x".repeat(10_000)).0.unwrap_err().contains("too long"));
    }

    #[test]
    fn scripts_get_the_provider_whose_key_is_there() {
        let with =
            |name: &'static str| by_default(&|asked: &str| (asked == name).then(|| "k".to_owned()));
        for choice in Choice::ALL.into_iter().filter(|choice| *choice != Choice::Compatible) {
            let answers = with(choice.key_variable()).unwrap();
            assert_eq!((answers.choice, answers.key.as_deref()), (choice, Some("k")));
        }
        let answers = with("").unwrap();
        assert!(answers.choice == Choice::Compatible && answers.key.is_none());
        let said = by_default(&|_| Some("a b".to_owned())).unwrap_err();
        assert!(said.starts_with("OPENAI_API_KEY: ") && !said.contains("a b"), "{said}");
    }
}
