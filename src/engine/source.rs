//! Where a configuration comes from: its file, the `.env` beside it, the environment, which wins, and the
//! files that it names.
//!
//! Reads and checks; nothing is put in force here. Values of `.env` are secrets and are never named in
//! a problem.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::base::limit::{
    CONFIG_BYTES_MAX, GUARD_WEIGHTS_BYTES_MAX, KEY_FILE_BYTES_MAX, ROUTER_FILE_BYTES_MAX,
};
use crate::config::problem::Problem;
use crate::config::snapshot::Snapshot;
use crate::config::{self, Outside};
use crate::engine::trust;

/// Answers for an environment variable.
pub type Env = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The files of a configuration.
pub struct Source {
    path: PathBuf,
    env_path: PathBuf,
    env: Env,
    last_read: Mutex<Option<[u8; 32]>>,
}

/// What tells cheaply whether a file may have changed.
pub(super) type Stamp = [Option<(SystemTime, u64)>; 2];

impl Source {
    /// That file, with the environment of the process.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_env(path, Box::new(|name| std::env::var(name).ok()))
    }

    /// That file, with another environment.
    pub fn with_env(path: impl Into<PathBuf>, env: Env) -> Self {
        let path = path.into();
        let env_path = path.with_file_name(".env");
        Self { path, env_path, env, last_read: Mutex::default() }
    }

    /// The file of the configuration.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks the configuration as it stands now.
    pub fn read(&self) -> Result<Snapshot, Vec<Problem>> {
        let text = bounded(&self.path);
        let own_env = bounded_if_there(&self.env_path);
        *self.last_read.lock() = text.as_ref().ok().zip(own_env.as_ref().ok()).map(digest);
        let name = self.path.display().to_string();
        let text = text.map_err(|error| vec![problem(&self.path, &error.to_string())])?;
        let (own_env, mut problems) = match &own_env {
            Ok(own_env) => variables(&self.env_path, own_env),
            Err(error) => (HashMap::new(), vec![problem(&self.env_path, &error.to_string())]),
        };
        let env = |key: &str| (self.env)(key).or_else(|| own_env.get(key).cloned());
        let outside = Outside {
            env: &env,
            certificates: &trust::certificates,
            key_file: &key_file,
            weights: &weights_file,
            server_certificate: &trust::server_certificate,
            router_file: &|path| router_file(&self.path.with_file_name(""), path),
        };
        match config::load_with(&text, &name, &outside) {
            Ok(snapshot) if problems.is_empty() => Ok(snapshot),
            // What is wrong with the one file does not hide what is wrong with the other.
            read => {
                problems.extend(read.err().into_iter().flatten());
                Err(problems)
            }
        }
    }

    /// Times and lengths of both files; nothing for one that is not there.
    pub(super) fn stamp(&self) -> Stamp {
        [&self.path, &self.env_path].map(|path| {
            let seen = fs::metadata(path).ok()?;
            Some((seen.modified().ok()?, seen.len()))
        })
    }

    /// Whether the files hold something else than at the last read. A missing configuration is no
    /// change: editors and deployments take it away for a moment.
    pub(super) fn has_changed(&self) -> bool {
        let Ok(text) = bounded(&self.path) else { return false };
        let Ok(own_env) = bounded_if_there(&self.env_path) else { return false };
        *self.last_read.lock() != Some(digest((&text, &own_env)))
    }
}

fn problem(path: &Path, message: &str) -> Problem {
    Problem { path: path.display().to_string(), message: message.to_owned(), line: None }
}

fn digest((text, own_env): (&String, &String)) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(text.len().to_le_bytes());
    hash.update(text);
    hash.update(own_env);
    hash.finalize().into()
}

/// The text of a file, unless it is larger than a configuration can be.
fn bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let room = CONFIG_BYTES_MAX as u64 + 1;
    File::open(path)?.take(room).read_to_string(&mut text)?;
    if text.len() > CONFIG_BYTES_MAX {
        let message = format!("is too large (at most {CONFIG_BYTES_MAX} bytes)");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// The text of a file with a key in it.
///
/// # Errors
/// Why it cannot be read, for people; nothing of it is shown.
pub fn key_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    // With room for all from the start, no copy is left behind.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX + 1));
    let room = KEY_FILE_BYTES_MAX as u64 + 1;
    let file = File::open(path).map_err(unreadable)?;
    file.take(room).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > KEY_FILE_BYTES_MAX {
        return Err(format!("is too large (at most {KEY_FILE_BYTES_MAX} bytes)"));
    }
    Ok(text)
}

/// A file that a strategy is read from; its path is relative to the folder of the configuration.
fn router_file(folder: &Path, path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let room = ROUTER_FILE_BYTES_MAX as u64 + 1;
    let file = File::open(folder.join(path)).map_err(unreadable)?;
    file.take(room).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > ROUTER_FILE_BYTES_MAX {
        return Err(format!("is too large (at most {ROUTER_FILE_BYTES_MAX} bytes)"));
    }
    Ok(bytes)
}

/// The bytes of a file of weights, no more than one can have.
fn weights_file(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(GUARD_WEIGHTS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn bounded_if_there(path: &Path) -> io::Result<String> {
    match bounded(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// Whether all of a `.env` can be read.
pub fn is_readable(text: &str) -> bool {
    variables(Path::new(".env"), text).1.is_empty()
}

/// What a `.env` says, and what of it cannot be read.
fn variables(path: &Path, text: &str) -> (HashMap<String, String>, Vec<Problem>) {
    let (mut all, mut problems) = (HashMap::new(), Vec::new());
    let count = Cell::new(0);
    let text = text.trim_start_matches('\u{feff}');
    let lines = Lines { rest: text.as_bytes(), count: &count };
    for variable in dotenvy::from_read_iter(lines) {
        match variable {
            Ok((name, value)) => drop(all.insert(name, value)),
            Err(dotenvy::Error::LineParse(part, _)) => {
                // The part may be the value alone, which has as many lines.
                let line = (count.get() + 1).saturating_sub(part.lines().count().max(1));
                let whole = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
                let problem = problem(path, &unreadable_line(whole));
                problems.push(Problem { line: Some(line), ..problem });
            }
            Err(_) => problems.push(problem(path, "cannot be read")),
        }
    }
    (all, problems)
}

/// What is said of a line that holds a secret: the variable alone. A line is not shown of which nobody knows
/// that it begins with the name of one.
fn unreadable_line(line: &str) -> String {
    const NAME_BYTES_MAX: usize = 64;
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let name = line.split_once('=').map(|(name, _)| name.trim());
    let is_name = |name: &&str| {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
    };
    let what = name.filter(is_name).unwrap_or("a line");
    format!(
        "{what} cannot be read (NAME=value; a value with blanks, quotes, # or $ stands in single quotes)"
    )
}

/// A text that is handed out line by line, so that whoever reads it has never taken more lines than it needs.
struct Lines<'t> {
    rest: &'t [u8],
    count: &'t Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let length = line.unwrap_or(self.rest.len()).min(buffer.len());
        let (piece, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(piece);
        let is_end = piece.ends_with(b"\n") || rest.is_empty() && !piece.is_empty();
        self.count.set(self.count.get() + usize::from(is_end));
        self.rest = rest;
        Ok(length)
    }
}

#[cfg(test)]
pub(crate) mod sample {
    //! Configurations for tests of this floor and the next.

    use super::*;

    pub(crate) const ADMIN_KEY: &str = "admin-key-0123456789";
    pub(crate) const AGENT_KEY: &str = "agent-key-0123456789";

    /// One provider, one model of that name, an agent `worker`, an admin key and an agent key.
    pub(crate) fn yaml(model: &str) -> String {
        format!(
            "server: {{threads: 1}}\n\
             auth: {{admin_keys: [\"{ADMIN_KEY}\"], agent_keys: [\"{AGENT_KEY}\"]}}\n\
             providers:\n  openrouter: {{dialect: openai, base_url: \"http://127.0.0.1:9000/v1\", \
             api_key: \"${{PROVIDER_KEY}}\"}}\n\
             models:\n  - {{id: {model}, provider: openrouter, price: {{input: 1, output: 2}}}}\n\
             agents:\n  worker: {{mode: auto}}\n"
        )
    }

    pub(crate) fn env(name: &str) -> Option<String> {
        (name == "PROVIDER_KEY").then(|| "provider-secret".to_owned())
    }

    pub(crate) fn snapshot(model: &str) -> Snapshot {
        config::load(&yaml(model), "test.yaml", &env).unwrap()
    }

    /// A folder of its own, removed at the end.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::Folder;
    use super::*;

    fn problems_of(source: &Source) -> String {
        let problems = source.read().unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_dot_env_beside_the_file_is_read_and_the_environment_wins() {
        let folder = Folder::new("dotenv");
        let path = folder.write("weir.yaml", &sample::yaml("m"));
        let source = Source::with_env(&path, Box::new(|_| None));
        let problems = problems_of(&source);
        assert!(problems.contains("PROVIDER_KEY"), "{problems}");
        folder.write(".env", "PROVIDER_KEY=from-file\n");
        assert_eq!(secret(&source), "Bearer from-file");
        let source = Source::with_env(&path, Box::new(sample::env));
        assert_eq!(secret(&source), "Bearer provider-secret");
    }

    #[test]
    fn each_read_asks_the_same_environment_for_what_the_file_does_not_say() {
        let folder = Folder::new("silent");
        let path = folder.write("weir.yaml", &sample::yaml("m"));
        let env = |name: &str| match name {
            "RETRY_STATUS_CODES" => Some("500".to_owned()),
            name => sample::env(name),
        };
        let source = Source::with_env(&path, Box::new(env));
        let read = || {
            let snapshot = source.read().unwrap();
            let statuses = snapshot.routing.retry.statuses.iter().collect::<Vec<_>>();
            (snapshot.server.listen[0].port(), statuses)
        };
        assert_eq!(read(), (8080, vec![500]));
        folder.write("weir.yaml", &sample::yaml("other"));
        assert_eq!(read(), (8080, vec![500]), "after a change of the file");
        folder.write(".env", "RETRY_STATUS_CODES=501\nPORT=8787\n");
        assert_eq!(read(), (8787, vec![500]), "the `.env` beside it says more, the process wins");
        folder.write(
            "weir.yaml",
            &format!("{}routing: {{retry_statuses: 502}}\n", sample::yaml("m")),
        );
        assert_eq!(read(), (8787, vec![502]), "the file wins");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_name() {
        let folder = Folder::new("bom");
        let path = folder.write("weir.yaml", &sample::yaml("m"));
        folder.write(".env", "\u{feff}PROVIDER_KEY=from-file\r\n");
        assert_eq!(secret(&Source::with_env(&path, Box::new(|_| None))), "Bearer from-file");
    }

    fn secret(source: &Source) -> String {
        let snapshot = source.read().unwrap();
        let (_, value) = snapshot.providers[0].auth.clone().unwrap();
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn what_cannot_be_read_is_a_problem_without_secrets() {
        let folder = Folder::new("unreadable");
        let source = Source::new(folder.0.join("missing.yaml"));
        assert!(problems_of(&source).contains("missing.yaml: No such file"));
        let path = folder.write("weir.yaml", &sample::yaml("m"));
        folder.write(".env", "A=1\nhush hush = \"secret\n");
        let problems = problems_of(&Source::new(&path));
        assert!(problems.contains(".env: a line cannot be read"), "{problems}");
        assert!(problems.contains("[line 2]") && !problems.contains("hush"), "{problems}");
        folder
            .write(".env", "A='x\ny'\n# no\n\nexport B=a b\nC=1\nPROVIDER_KEY=k\nD='hush\nhush\n");
        folder.write("weir.yaml", &format!("{}nonsense: 1\n", sample::yaml("m")));
        let problems = problems_of(&Source::with_env(&path, Box::new(|_| None)));
        for said in ["B cannot be read", "[line 5]", "D cannot be read", "[line 8]", "nonsense: "] {
            assert!(problems.contains(said), "{said}: {problems}");
        }
        assert!(!problems.contains("hush") && !problems.contains("not set"), "{problems}");
        folder.write("weir.yaml", &"#".repeat(CONFIG_BYTES_MAX + 1));
        let problems = problems_of(&Source::new(&path));
        assert!(problems.contains("weir.yaml: is too large"), "{problems}");
    }

    #[test]
    fn only_another_content_is_a_change() {
        let folder = Folder::new("changed");
        let path = folder.write("weir.yaml", &sample::yaml("m"));
        let source = Source::with_env(&path, Box::new(sample::env));
        assert!(source.has_changed(), "never read");
        source.read().unwrap();
        assert!(!source.has_changed());
        folder.write("weir.yaml", &sample::yaml("m"));
        assert!(!source.has_changed(), "written anew with the same content");
        folder.write(".env", "A=1\n");
        assert!(source.has_changed());
        source.read().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!source.has_changed(), "gone for a moment");
    }
}
