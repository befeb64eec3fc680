//! What lies where: no dead file, no room without its face, no re-export, no stray entry, no stray word.

use std::collections::BTreeSet;
use std::path::Path;

use super::scan::modules;
use super::tree::{files, module_paths, read, rooms, root, source, sources};
use super::{Breach, judge};

/// What may stand at the top, beside dot-files: the design card and its papers.
const TOP: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "conf",
    "benches",
    "loadtest",
    "src",
    "tests",
    "LICENSE",
    "CHANGELOG.md",
    "SECURITY.md",
    "deploy",
];
/// What must stand there.
const CARD: [&str; 7] = ["Cargo.toml", "README.md", "conf", "benches", "loadtest", "src", "tests"];
/// Lines of the map.
const MAP_LINES_MAX: usize = 150;
/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] = ["/work/", "/root/", "/home/", "/Users/"];
/// Where packages come from is the machine's business.
const REGISTRIES: [&str; 7] = [
    "registry.npmjs.org",
    "pypi.org",
    "pythonhosted.org",
    "index.crates.io",
    "static.crates.io",
    "deb.debian.org",
    "static.rust-lang.org",
];
/// How the work was done is not what the project says.
const WORKSHOP: [&str; 8] = [
    "colleague",
    "sub-session",
    "scratchpad",
    "the brief",
    "the lead ",
    "as an ai",
    "ai-generated",
    "developers.md",
];
/// What the injection screen is taught with speaks as people do.
const PHRASES: &str = "conf/guard/";
/// Files that name the places where packages came from, by nature.
const LOCKS: [&str; 3] = ["Cargo.lock", "tests/fuzz/Cargo.lock", "tests/clients/package-lock.json"];

#[test]
fn every_file_of_src_is_a_module() {
    let mut reached: BTreeSet<String> =
        ["src/lib.rs", "src/main.rs"].into_iter().map(str::to_owned).collect();
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(path) = open.pop() {
        for (name, _) in modules(&source(&path).all) {
            let paths = module_paths(&path, &name);
            for found in paths.into_iter().filter(|path| root().join(path).exists()) {
                if reached.insert(found.clone()) {
                    open.push(found);
                }
            }
        }
    }
    let dead = sources().into_iter().filter(|source| !reached.contains(&source.path));
    let breaches: Vec<Breach> =
        dead.map(|source| Breach::new(source.path, "no module leads here")).collect();
    judge("dead files", &breaches);
}

#[test]
fn a_room_is_a_folder_with_its_face_inside() {
    let mut breaches = Vec::new();
    for room in rooms() {
        let name = room.display().to_string();
        if !root().join(&room).join("mod.rs").exists() {
            breaches.push(Breach::new(&name, "has no mod.rs"));
        }
        if root().join(room.with_extension("rs")).exists() {
            breaches.push(Breach::new(&name, "has a file of its name beside it"));
        }
    }
    judge("rooms", &breaches);
}

#[test]
fn nothing_is_re_exported() {
    let mut breaches = Vec::new();
    for source in sources() {
        let is_re_export = |at: &usize| {
            source.code[*at].text == "use"
                && (0..*at)
                    .rev()
                    .map(|before| source.code[before].text.as_str())
                    .find(|word| !matches!(*word, "(" | ")" | "crate" | "super" | "in"))
                    == Some("pub")
        };
        for at in (0..source.code.len()).filter(is_re_export) {
            breaches.push(Breach::new(
                &source.path,
                format!("line {}: pub use", source.code[at].line + 1),
            ));
        }
    }
    judge("re-exports", &breaches);
}

#[test]
fn the_top_is_the_design_card() {
    let found: BTreeSet<String> =
        files().iter().map(|path| path.split('/').next().unwrap_or_default().to_owned()).collect();
    let stray = found.iter().filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str()));
    let mut breaches: Vec<Breach> =
        stray.map(|name| Breach::new(name, "does not belong at the top")).collect();
    let missing = CARD.iter().filter(|name| !found.contains(**name));
    breaches.extend(missing.map(|name| Breach::new(*name, "is missing")));
    judge("top", &breaches);
}

#[test]
fn files_speak_of_the_project_only() {
    let spoken = files()
        .into_iter()
        .filter(|path| !path.starts_with("tests/it/tidy/") && !LOCKS.contains(&path.as_str()));
    let mut breaches = Vec::new();
    for path in spoken {
        // Binary files say nothing.
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (at, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            let machine = MACHINE_PATHS.iter().filter(|word| line.contains(**word));
            let workshop = WORKSHOP.iter().filter(|_| !path.starts_with(PHRASES));
            let others = REGISTRIES.iter().chain(workshop).filter(|word| lower.contains(**word));
            breaches.extend(
                machine
                    .chain(others)
                    .map(|word| Breach::new(&path, format!("line {}: {word}", at + 1))),
            );
        }
    }
    judge("words", &breaches);
}

#[test]
fn every_limit_is_used_and_explained() {
    let limits = read("src/base/limit.rs");
    let lines: Vec<&str> = limits.lines().collect();
    let sources = sources();
    let mut breaches = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("pub const ").and_then(|rest| rest.split(':').next())
        else {
            continue;
        };
        let is_used = sources
            .iter()
            .filter(|source| source.path != "src/base/limit.rs")
            .any(|source| source.code.iter().any(|token| token.text == name));
        if !is_used {
            breaches.push(Breach::new(name, "is used nowhere"));
        }
        if !at.checked_sub(1).is_some_and(|above| lines[above].starts_with("/// ")) {
            breaches.push(Breach::new(name, "has no reason above it"));
        }
    }
    judge("limits", &breaches);
}

#[test]
fn the_map_shows_every_room() {
    if !root().join("src/README.md").exists() {
        return judge("map", &[Breach::new("src/README.md", "is missing")]);
    }
    let map = read("src/README.md");
    let tops = rooms().into_iter().filter(|room| room.parent() == Some(Path::new("src")));
    let names =
        tops.filter_map(|room| room.file_name().map(|name| name.to_string_lossy().into_owned()));
    let missing = names
        .filter(|name| !map.contains(&format!("{name}/")) && !map.contains(&format!("`{name}`")));
    let mut breaches: Vec<Breach> =
        missing.map(|name| Breach::new(name, "is not on the map")).collect();
    if map.lines().count() > MAP_LINES_MAX {
        breaches.push(Breach::new("src/README.md", format!("over {MAP_LINES_MAX} lines")));
    }
    judge("map", &breaches);
}
