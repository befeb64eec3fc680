//! Who may name whom: floors, strangers, pure rooms, Pingora's room.

use super::scan::paths;
use super::tree::{Source, sources};
use super::{Breach, judge};

/// Every room with its floor. The last floor is the composition root, whose files know each other.
const FLOORS: &[(&str, usize)] = &[
    ("base", 0),
    ("wire", 1),
    ("dialect", 2),
    ("guard", 2),
    ("identity", 2),
    ("learned", 2),
    ("ledger", 2),
    ("mutate", 2),
    ("pinning", 2),
    ("routing", 2),
    ("upstream", 2),
    ("usage", 2),
    ("config", 3),
    ("learn", 3),
    ("exchange", 4),
    ("record", 4),
    ("stats", 4),
    ("store", 4),
    ("telemetry", 4),
    ("engine", 5),
    ("admin", 6),
    ("proxy", 7),
    ("app", ROOF),
    ("cli", ROOF),
    ("demo", ROOF),
    ("guard_cli", ROOF),
    ("lib", ROOF),
    ("main", ROOF),
    ("setup", ROOF),
    ("train_cli", ROOF),
];
const ROOF: usize = 8;
/// Rooms of one floor are strangers, but for these.
const ACQUAINTED: [(&str, &str); 4] =
    [("dialect", "usage"), ("exchange", "record"), ("stats", "record"), ("telemetry", "record")];
/// Rooms whose result depends on their arguments only.
const PURE: &[&str] = &[
    "base", "wire", "identity", "usage", "dialect", "routing", "upstream", "config", "exchange",
    "record", "guard", "learn", "learned", "ledger", "mutate", "pinning", "stats",
];
/// Words that no pure room may say.
const IMPURE_WORDS: [&str; 9] = [
    "async",
    "await",
    "tokio",
    "tracing",
    "rand",
    "getrandom",
    "Instant",
    "SystemTime",
    "loadtest",
];
/// Paths that no pure room may name.
const IMPURE_PATHS: [&str; 3] = ["std::fs", "std::thread", "std::process"];
/// What pure rooms may name of `std::net`: addresses are values.
const ADDRESSES: [&str; 6] =
    ["SocketAddr", "SocketAddrV4", "SocketAddrV6", "IpAddr", "Ipv4Addr", "Ipv6Addr"];

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn is_pure(source: &Source) -> bool {
    PURE.contains(&source.room())
}

#[test]
fn every_room_has_a_floor() {
    let strangers = sources().into_iter().filter(|source| floor_of(source.room()).is_none());
    let breaches: Vec<Breach> = strangers
        .map(|source| Breach::new(&source.path, "a room that stands on no floor"))
        .collect();
    judge("every room has a floor", &breaches);
}

#[test]
fn a_room_sees_lower_floors_only() {
    let mut breaches = Vec::new();
    for source in sources() {
        for (path, line) in paths(&source.code) {
            let Some(seen) = room_of(&source, &path) else { continue };
            if !may_see(source.room(), seen) {
                let what = format!("line {}: {} may not see {path}", line + 1, source.room());
                breaches.push(Breach::new(format!("{} -> {seen}", source.path), what));
            }
        }
    }
    judge("floors", &breaches);
}

/// The room that a path leads to, if it goes by the crate's root: `crate::wire::sse`, and `super::super`
/// of a file two folders deep.
fn room_of<'a>(source: &Source, path: &'a str) -> Option<&'a str> {
    let up = path.split("::").take_while(|part| *part == "super").count();
    let is_face = source.path.ends_with("/mod.rs");
    let depth = source.path.trim_start_matches("src/").split('/').count() - usize::from(is_face);
    let below = match path.strip_prefix("crate::") {
        Some(below) => below,
        None if up == depth => &path[up * "super::".len()..],
        None => return None,
    };
    below.split("::").next()
}

fn may_see(room: &str, seen: &str) -> bool {
    let (Some(from), Some(to)) = (floor_of(room), floor_of(seen)) else { return room == seen };
    room == seen || to < from || from == ROOF && to == ROOF || ACQUAINTED.contains(&(room, seen))
}

#[test]
fn pure_rooms_stay_pure() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| is_pure(source)) {
        let words = source.code.iter().map(|token| (token.text.clone(), token.line));
        let words = words.filter(|(word, _)| IMPURE_WORDS.contains(&word.as_str()));
        let named = paths(&source.code).into_iter().filter(|(path, _)| is_impure(path));
        for (said, line) in words.chain(named) {
            let what = format!("line {}: a pure room says {said}", line + 1);
            breaches.push(Breach::new(&source.path, what));
        }
    }
    judge("pure rooms", &breaches);
}

fn is_impure(path: &str) -> bool {
    let of_net =
        path.strip_prefix("std::net::").map(|rest| rest.split("::").next().unwrap_or(rest));
    path == "std::net"
        || of_net.is_some_and(|name| !ADDRESSES.contains(&name))
        || IMPURE_PATHS.iter().any(|root| path == *root || path.starts_with(&format!("{root}::")))
}

#[test]
fn pingora_is_named_in_its_room_only() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| source.room() != "proxy") {
        let named = source.all.iter().filter(|token| token.text.starts_with("pingora"));
        breaches.extend(named.map(|token| {
            Breach::new(&source.path, format!("line {}: names {}", token.line + 1, token.text))
        }));
    }
    judge("Pingora's room", &breaches);
}
