//! The files of the project: what git would track, found by walking, and the source files among them.

use std::path::{Path, PathBuf};

use super::scan::{self, Token};

/// One Rust file of `src`.
pub struct Source {
    /// Its path below the project, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its words and marks without test code; none at all in a file that only tests have.
    pub code: Vec<Token>,
    /// All of its words and marks.
    pub all: Vec<Token>,
}

impl Source {
    /// The room it belongs to: a folder of `src`, or a file of its own there.
    pub fn room(&self) -> &str {
        let below = self.path.trim_start_matches("src/");
        below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the project.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths of all files that `.gitignore` does not name.
pub fn files() -> Vec<String> {
    let ignored: Vec<String> = read(".gitignore").lines().map(str::to_owned).collect();
    let mut found = Vec::new();
    walk(root(), &ignored, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, ignored: &[String], found: &mut Vec<String>) {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        // A file that another test has just removed is no file of the project.
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        let below = below_root(&path);
        if below == ".git" || ignored.iter().any(|pattern| is_ignored(&below, pattern)) {
            continue;
        }
        if path.is_dir() {
            walk(&path, ignored, found);
        } else {
            found.push(below);
        }
    }
}

fn below_root(path: &Path) -> String {
    let parts = path.strip_prefix(root()).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The three forms of pattern that the project uses: `/path`, `*.end`, `name`.
fn is_ignored(below: &str, pattern: &str) -> bool {
    let name = below.rsplit('/').next().unwrap_or(below);
    match (pattern.strip_prefix('/'), pattern.strip_prefix('*')) {
        (Some(path), _) => below == path.trim_end_matches('/'),
        (_, Some(end)) => name.ends_with(end),
        _ => !pattern.is_empty() && name == pattern.trim_end_matches('/'),
    }
}

/// Every Rust file of `src`, in order of its path.
pub fn sources() -> Vec<Source> {
    let paths: Vec<String> =
        rust_files().into_iter().filter(|path| path.starts_with("src/")).collect();
    let mut sources: Vec<Source> = paths.into_iter().map(|path| source(&path)).collect();
    let of_tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        if of_tests.iter().any(|module| source.path.starts_with(module.as_str())) {
            source.code.clear();
        }
    }
    sources
}

/// Every Rust file of the project.
pub fn rust_files() -> Vec<String> {
    files().into_iter().filter(|path| Path::new(path).extension() == Some("rs".as_ref())).collect()
}

/// One file, read.
pub fn source(path: &str) -> Source {
    let text = read(path);
    let all = scan::tokens(&text);
    Source { path: path.to_owned(), code: scan::without_tests(&all), all, text }
}

/// The beginnings of the paths of modules that this file has only for tests.
fn test_modules(source: &Source) -> Vec<String> {
    let modules = scan::modules(&source.all).into_iter().filter(|(_, is_test)| *is_test);
    modules
        .flat_map(|(name, _)| {
            module_paths(&source.path, &name).map(|path| path.trim_end_matches("mod.rs").to_owned())
        })
        .collect()
}

/// Where a module may stand that is declared in that file.
pub fn module_paths(path: &str, name: &str) -> [String; 2] {
    let stem = path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "mod" | "lib" | "main")) => folder,
        _ => stem,
    };
    [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]
}

/// Folders below `src` that hold Rust files.
pub fn rooms() -> Vec<PathBuf> {
    let folders = rust_files().into_iter().filter(|path| path.starts_with("src/"));
    let mut folders: Vec<PathBuf> =
        folders.filter_map(|path| Path::new(&path).parent().map(Path::to_owned)).collect();
    folders.sort();
    folders.dedup();
    folders.retain(|folder| folder != Path::new("src"));
    folders
}
