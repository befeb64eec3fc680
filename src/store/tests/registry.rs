//! The registry in real files: every verb, its bounds, and its neighbours in the same file.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::{Folder, founding, hold, settle};
use crate::base::limit;
use crate::config::snapshot::Synchronous;
use crate::identity::vault::{self, Key, Keys};
use crate::ledger::entry::HoldId;
use crate::pinning::pin::Pin;
use crate::store::pins::{Batch, Change, PinStore};
use crate::store::registry::{
    self, Active, KeyError, Page, Profile, ProfileModel, Registry, RegistryError, RequestRow,
    Resealed, Sealed, SwitchRow,
};
use crate::store::sqlite::registry::SqliteRegistry;
use crate::store::sqlite::{Opening, SqliteStore};
use crate::store::verify::verify;
use crate::store::{Store, StoreError};
use crate::upstream::kind::ProviderKind;

const ALL: Page = Page { after: 0, limit: 1_000 };

fn open(folder: &Folder) -> SqliteRegistry {
    SqliteRegistry::open(&folder.file()).expect("it opens")
}

fn fresh() -> (Folder, SqliteRegistry) {
    let folder = Folder::new();
    let registry = open(&folder);
    (folder, registry)
}

fn profile(name: &str) -> Profile {
    Profile {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        kind: ProviderKind::OpenAiCompatible,
        base_url: "http://127.0.0.1:9000/v1".to_owned(),
        credential: Sealed(vec![1, 2, 3]),
        key_id: "0011223344556677".to_owned(),
        created_ms: 1_700_000_000_123,
    }
}

fn model(profile: &str, name: &str) -> ProfileModel {
    ProfileModel {
        profile_id: format!("id-of-{profile}"),
        name: name.to_owned(),
        enabled: true,
        tags: vec!["cheap".to_owned(), "a \"quoted\", one".to_owned()],
        max_tokens: Some(u64::MAX),
    }
}

fn active(agent: &str, profile: &str) -> Active {
    Active {
        agent: agent.to_owned(),
        profile: profile.to_owned(),
        model: "m".to_owned(),
        since_ms: 5,
    }
}

fn switch_row(agent: &str, at_ms: i64) -> SwitchRow {
    SwitchRow {
        id: 0,
        at_ms,
        agent: agent.to_owned(),
        from: None,
        to: "p::m".to_owned(),
        by: "0123456789ab".to_owned(),
    }
}

fn request(at_ms: i64) -> RequestRow {
    RequestRow {
        id: 0,
        at_ms,
        request_id: format!("r-{at_ms}"),
        agent: "builder".to_owned(),
        provider: "p".to_owned(),
        model: "m".to_owned(),
        surface: "chat".to_owned(),
        status: 200,
        prompt_sha256: (at_ms % 2 == 0).then_some([7; 32]),
    }
}

#[test]
fn what_is_kept_comes_back_also_after_a_restart() {
    let (folder, registry) = fresh();
    let made = [profile("b"), profile("a")];
    for profile in &made {
        registry.add_profile(profile).unwrap();
    }
    let models = [model("a", "x"), model("a", "y"), model("b", "x")];
    registry.put_models(&models).unwrap();
    let to = active("builder", "a");
    registry.switch(&to, &switch_row("builder", 1), None).unwrap();
    registry.audit(&[request(2), request(3)]).unwrap();
    for registry in [&registry, &open(&folder)] {
        let [b, a] = &made;
        assert_eq!(registry.profiles().unwrap(), [a.clone(), b.clone()]);
        assert_eq!(registry.models().unwrap(), models);
        assert_eq!(registry.active().unwrap(), std::slice::from_ref(&to));
        let switched = SwitchRow { id: 1, ..switch_row("builder", 1) };
        assert_eq!(registry.switches(ALL).unwrap(), [switched]);
        let audited = [RequestRow { id: 1, ..request(2) }, RequestRow { id: 2, ..request(3) }];
        assert_eq!(registry.requests(ALL).unwrap(), audited);
    }
}

#[test]
fn a_name_is_taken_once() {
    let (_folder, registry) = fresh();
    registry.add_profile(&profile("a")).unwrap();
    let other = Profile { id: "another".to_owned(), ..profile("a") };
    let error = registry.add_profile(&other).unwrap_err();
    assert!(matches!(error, RegistryError::DuplicateName), "{error}");
    assert_eq!(registry.profiles().unwrap().len(), 1);
}

#[test]
fn a_profile_in_use_stays_and_a_removed_one_takes_its_models_along() {
    let (_folder, registry) = fresh();
    for name in ["a", "b"] {
        registry.add_profile(&profile(name)).unwrap();
        registry.put_models(&[model(name, "x")]).unwrap();
    }
    registry.switch(&active("two", "a"), &switch_row("two", 1), None).unwrap();
    registry.switch(&active("one", "a"), &switch_row("one", 1), None).unwrap();
    match registry.remove_profile("id-of-a").unwrap_err() {
        RegistryError::InUse(agents) => assert_eq!(agents, ["one", "two"]),
        other => panic!("{other}"),
    }
    for agent in ["one", "two"] {
        registry.switch(&active(agent, "b"), &switch_row(agent, 2), None).unwrap();
    }
    registry.remove_profile("id-of-a").unwrap();
    assert_eq!(registry.models().unwrap(), [model("b", "x")]);
    let error = registry.remove_profile("id-of-a").unwrap_err();
    assert!(matches!(error, RegistryError::UnknownProfile), "{error}");
}

#[test]
fn models_are_added_or_changed_all_or_none() {
    let (_folder, registry) = fresh();
    registry.add_profile(&profile("a")).unwrap();
    registry.put_models(&[model("a", "x"), model("a", "y")]).unwrap();
    let changed =
        ProfileModel { enabled: false, tags: vec![], max_tokens: None, ..model("a", "x") };
    registry.put_models(std::slice::from_ref(&changed)).unwrap();
    assert_eq!(registry.models().unwrap(), [changed, model("a", "y")]);
    let error = registry.put_models(&[model("a", "z"), model("gone", "z")]).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownProfile), "{error}");
    assert_eq!(registry.models().unwrap().len(), 2);
}

#[test]
fn a_switch_its_audit_and_its_new_model_are_one() {
    let (_folder, registry) = fresh();
    let new = model("a", "new");
    let to = active("one", "a");
    let error = registry.switch(&to, &switch_row("one", 1), Some(&new)).unwrap_err();
    assert!(matches!(error, RegistryError::UnknownProfile), "{error}");
    assert_eq!((registry.active().unwrap(), registry.switches(ALL).unwrap()), (vec![], vec![]));
    registry.add_profile(&profile("a")).unwrap();
    registry.switch(&to, &switch_row("one", 1), Some(&new)).unwrap();
    assert_eq!((registry.active().unwrap(), registry.models().unwrap()), (vec![to], vec![new]));
    let again = Active { since_ms: 9, ..active("one", "p") };
    registry.switch(&again, &switch_row("one", 9), None).unwrap();
    assert_eq!(registry.active().unwrap(), [again]);
    assert_eq!(registry.switches(ALL).unwrap().len(), 2);
}

#[test]
fn the_audit_is_read_in_pages() {
    let (_folder, registry) = fresh();
    registry.audit(&(0..2_500).map(request).collect::<Vec<_>>()).unwrap();
    let mut after = 0;
    let mut seen = 0;
    loop {
        let rows = registry.requests(Page { after, limit: 999 }).unwrap();
        let Some(last) = rows.last() else { break };
        assert!(rows[0].id == after + 1 && rows.len() <= 999);
        assert!(rows.iter().all(|row| row.at_ms == row.id - 1), "in the order in which they came");
        (after, seen) = (last.id, seen + rows.len());
    }
    assert_eq!(seen, 2_500);
    let most = registry.requests(Page { after: 0, limit: usize::MAX }).unwrap();
    assert_eq!(most.len(), limit::AUDIT_PAGE_MAX);
    assert!(registry.requests(Page { after: 0, limit: 0 }).unwrap().is_empty());
}

#[test]
fn old_rows_are_forgotten_piece_by_piece_and_their_numbers_stay_used() {
    let (_folder, registry) = fresh();
    registry.audit(&(0..10).map(request).collect::<Vec<_>>()).unwrap();
    for at in 0..4 {
        registry.switch(&active("one", "p"), &switch_row("one", at), None).unwrap();
    }
    assert_eq!(registry.forget_before(8, 5).unwrap(), 5);
    assert_eq!(registry.requests(ALL).unwrap().len(), 5);
    assert_eq!(registry.forget_before(8, 5).unwrap(), 5);
    assert_eq!(registry.forget_before(8, 5).unwrap(), 2);
    assert_eq!(registry.forget_before(8, 5).unwrap(), 0);
    assert_eq!(registry.requests(ALL).unwrap().len(), 2);
    assert_eq!(registry.forget_before(100, 100).unwrap(), 2);
    registry.audit(&[request(200)]).unwrap();
    assert_eq!(registry.requests(ALL).unwrap()[0].id, 11);
    assert_eq!(registry.active().unwrap().len(), 1);
}

#[test]
fn every_credential_is_sealed_anew_or_none() {
    let (_folder, registry) = fresh();
    for name in ["a", "b", "c"] {
        registry.add_profile(&profile(name)).unwrap();
    }
    let before = registry.profiles().unwrap();
    let mut fails = |profile: &Profile| match profile.name.as_str() {
        "c" => Err("profile c is broken".to_owned()),
        _ => Ok(Resealed { credential: Sealed(vec![9]), key_id: "new".to_owned() }),
    };
    let error = registry.reseal(&mut fails).unwrap_err();
    assert_eq!(error.to_string(), "profile c is broken");
    assert_eq!(registry.profiles().unwrap(), before);
    let mut works = |profile: &Profile| {
        let credential = Sealed([&profile.credential.0, profile.id.as_bytes()].concat());
        Ok(Resealed { credential, key_id: "new".to_owned() })
    };
    assert_eq!(registry.reseal(&mut works).unwrap(), 3);
    for profile in registry.profiles().unwrap() {
        assert_eq!(profile.credential.0, [b"\x01\x02\x03", profile.id.as_bytes()].concat());
        assert_eq!(profile.key_id, "new");
    }
}

/// What a call leaves of the number that says whether anything has changed.
#[test]
fn the_version_tells_changes_of_every_connection_and_no_others() {
    let (folder, one) = fresh();
    let other = open(&folder);
    let mut last = one.version().unwrap();
    let mut changed = |expected: bool| {
        let now = one.version().unwrap();
        assert_eq!(other.version().unwrap(), now);
        assert_eq!(now > last, expected, "{last} to {now}");
        last = now;
    };
    other.add_profile(&profile("a")).unwrap();
    changed(true);
    one.put_models(&[model("a", "x")]).unwrap();
    changed(true);
    other.switch(&active("one", "p"), &switch_row("one", 1), None).unwrap();
    changed(true);
    one.add_profile(&profile("a")).unwrap_err();
    changed(false);
    one.audit(&[request(1)]).unwrap();
    one.forget_before(5, 5).unwrap();
    changed(false);
    other.remove_profile("id-of-a").unwrap();
    changed(true);
}

#[test]
fn what_is_too_long_or_too_many_is_refused() {
    let (_folder, registry) = fresh();
    registry.add_profile(&profile("a")).unwrap();
    let long = "x".repeat(2_049);
    let refused =
        |error: RegistryError| assert!(matches!(error, RegistryError::TooLong(_)), "{error}");
    refused(registry.add_profile(&profile(&long)).unwrap_err());
    let far = Profile { base_url: long.clone(), ..profile("b") };
    refused(registry.add_profile(&far).unwrap_err());
    let big = Profile { credential: Sealed(vec![0; 9_000]), ..profile("b") };
    refused(registry.add_profile(&big).unwrap_err());
    refused(registry.put_models(&[model("a", &long)]).unwrap_err());
    let marked = ProfileModel { tags: vec![long.clone()], ..model("a", "x") };
    refused(registry.put_models(&[marked]).unwrap_err());
    let marked = ProfileModel { tags: vec![String::new(); 33], ..model("a", "x") };
    refused(registry.put_models(&[marked]).unwrap_err());
    refused(registry.switch(&active(&long, "a"), &switch_row("one", 1), None).unwrap_err());
    let many: Vec<_> =
        (0..=limit::PROFILE_MODELS_MAX).map(|at| model("a", &at.to_string())).collect();
    let error = registry.put_models(&many).unwrap_err();
    assert!(matches!(error, RegistryError::Full("models of a profile")), "{error}");
    registry.put_models(&many[1..]).unwrap();
    registry.put_models(&many[1..]).unwrap();
    let error = registry.put_models(&many[..1]).unwrap_err();
    assert!(matches!(error, RegistryError::Full(_)), "{error}");
}

#[test]
fn there_are_so_many_profiles_and_no_more() {
    let (_folder, registry) = fresh();
    for at in 0..limit::PROFILES_MAX {
        registry.add_profile(&profile(&at.to_string())).unwrap();
    }
    let error = registry.add_profile(&profile("one more")).unwrap_err();
    assert!(matches!(error, RegistryError::Full("profiles")), "{error}");
    assert_eq!(registry.profiles().unwrap().len(), limit::PROFILES_MAX);
}

/// The ledger keeps its chain whole and both keep everything, however their transactions fall together.
#[test]
fn ledger_and_registry_share_a_file() {
    let folder = Folder::new();
    let mut ledger = folder.own();
    let epoch = ledger.open_epoch().unwrap().epoch;
    ledger.commit(&founding()).unwrap();
    let (one, other) = (open(&folder), open(&folder));
    one.add_profile(&profile("a")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = [&one, &other]
            .into_iter()
            .map(|registry| {
                scope.spawn(|| {
                    let mut rounds = 0;
                    while !done.load(Ordering::Relaxed) || rounds < 5 {
                        registry.audit(&[request(rounds), request(rounds)]).unwrap();
                        registry.put_models(&[model("a", &(rounds % 7).to_string())]).unwrap();
                        rounds += 1;
                    }
                    usize::try_from(rounds).unwrap()
                })
            })
            .collect();
        for number in 0..200 {
            let made = hold(HoldId::new(epoch, number), 5, 10_000);
            ledger.commit(&[made.clone(), settle(&made, 3)]).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let rounds: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        let kept = Connection::open(folder.file()).unwrap().query_row(
            "SELECT count(*) FROM audit_requests",
            [],
            |row| row.get::<_, i64>(0),
        );
        assert_eq!(kept.unwrap(), i64::try_from(rounds * 2).unwrap());
    });
    ledger.close_epoch().unwrap();
    drop((ledger, one, other));
    let found = verify(&folder.file()).unwrap();
    assert_eq!((found.entries, found.broken.len()), (402, 0));
    drop(SqliteStore::open(&folder.file(), Synchronous::Full, Opening::Own).unwrap());
}

#[test]
fn a_full_disk_takes_nothing_and_heals() {
    let (_folder, registry) = fresh();
    registry.add_profile(&profile("a")).unwrap();
    let pages = registry.limit_pages(1);
    let before = registry.version().unwrap();
    let many: Vec<_> = (0..500).map(|at| model("a", &at.to_string())).collect();
    let error = registry.put_models(&many).unwrap_err();
    assert!(matches!(error, RegistryError::Store(StoreError::Unusable { .. })), "{error}");
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!((registry.models().unwrap().len(), registry.version().unwrap()), (0, before));
    registry.limit_pages(pages + 1_000);
    registry.put_models(&many).unwrap();
    assert_eq!(registry.models().unwrap().len(), 500);
}

fn sql(file: &Path, text: &str) {
    Connection::open(file).unwrap().execute_batch(text).unwrap();
}

#[test]
fn a_newer_registry_and_a_newer_ledger_are_refused() {
    let (folder, registry) = fresh();
    drop(registry);
    sql(&folder.file(), "UPDATE registry_meta SET schema = 3");
    let error = SqliteRegistry::open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 3, known: 2, .. }), "{error}");
    sql(&folder.file(), "UPDATE registry_meta SET schema = 0");
    let error = SqliteRegistry::open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    sql(&folder.file(), "UPDATE registry_meta SET schema = 1; PRAGMA user_version = 900");
    let error = SqliteRegistry::open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 900, .. }), "{error}");
}

#[test]
fn a_registry_of_the_first_schema_gets_its_pins_table() {
    let (folder, registry) = fresh();
    drop(registry);
    sql(&folder.file(), "DROP TABLE pins; UPDATE registry_meta SET schema = 1");
    let registry = SqliteRegistry::open(&folder.file()).unwrap();
    assert_eq!(registry.pins_after(0, 9).unwrap(), Batch::default());
    let pin = Some(Pin { used_ms: 5, turns: 1, ..Pin::default() });
    registry.keep_pins(&[Change { key: 1, at_ms: 5, pin: pin.clone() }]).unwrap();
    drop(registry);
    let registry = SqliteRegistry::open(&folder.file()).unwrap();
    registry.keep_pins(&[Change { key: 1, at_ms: 4, pin: None }]).unwrap();
    let kept = registry.pins_after(0, 9).unwrap();
    assert_eq!(kept.changes, [Change { key: 1, at_ms: 5, pin }], "the older word is passed over");
    sql(&folder.file(), "UPDATE pins SET detail = 'odd'");
    let odd = registry.pins_after(0, 9).unwrap();
    assert_eq!((odd.changes.len(), odd.rows), (0, 1));
    assert_eq!(registry.forget_pins(5, 9).unwrap(), 0);
    assert_eq!(registry.forget_pins(6, 9).unwrap(), 1);
}

#[test]
fn what_is_no_ledger_is_refused_and_left_alone() {
    let folder = Folder::new();
    fs::write(folder.file(), b"something else").unwrap();
    let error = SqliteRegistry::open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(fs::read(folder.file()).unwrap(), b"something else");
    let error = SqliteRegistry::open(&folder.path().join("no/weir.db")).unwrap_err();
    assert!(error.to_string().contains("there is no folder"), "{error}");
}

#[test]
fn a_read_only_file_is_refused() {
    let (folder, registry) = fresh();
    drop(registry);
    let mut rights = fs::metadata(folder.file()).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(folder.file(), rights).unwrap();
    // The superuser writes all the same, and so may the gateway.
    let may_write = fs::OpenOptions::new().write(true).open(folder.file()).is_ok();
    let opened = SqliteRegistry::open(&folder.file());
    assert_eq!(opened.is_ok(), may_write, "{opened:?}");
}

/// A row that this program would not have written is told, and not read as something else.
#[test]
fn a_row_without_sense_is_told() {
    let (folder, registry) = fresh();
    registry.add_profile(&profile("a")).unwrap();
    registry.put_models(&[model("a", "x")]).unwrap();
    sql(&folder.file(), "UPDATE profiles SET kind = 'elsewhere'; UPDATE models SET tags = '{}'");
    for error in [registry.profiles().unwrap_err(), registry.models().unwrap_err()] {
        assert!(matches!(error, RegistryError::Store(StoreError::Corrupt { .. })), "{error}");
    }
}

const MARKER: &str = "sk-MARKER-0123456789abcdef";

fn key(seed: u8) -> Key {
    Key::new([seed; 32])
}

/// An account whose credential is the marker.
fn sealed(name: &str, with: &Key) -> Profile {
    let plain = profile(name);
    let credential = vault::seal(with, [9; 12], &plain.id, MARKER.as_bytes()).unwrap();
    Profile { credential: Sealed(credential), key_id: with.id(), ..plain }
}

#[test]
fn a_key_that_opens_nothing_is_told_with_the_profile() {
    let (_folder, registry) = fresh();
    assert!(registry::check_keys(&registry, None).is_ok());
    registry.add_profile(&sealed("a", &key(1))).unwrap();
    registry.add_profile(&sealed("b", &key(2))).unwrap();
    let error = registry::check_keys(&registry, None).unwrap_err();
    assert!(matches!(error, KeyError::NoKey(2)) && error.to_string().contains("WEIR_KMS_KEY"));
    let both = Keys::new(key(1), vec![key(2)]);
    assert!(registry::check_keys(&registry, Some(&both)).is_ok());
    let one = Keys::new(key(1), vec![]);
    let error = registry::check_keys(&registry, Some(&one)).unwrap_err().to_string();
    assert!(error.contains("profile b") && error.contains(&key(2).id()), "{error}");
    // The right id, but sealed for another record.
    let moved = Profile { credential: sealed("a", &key(1)).credential, ..sealed("c", &key(1)) };
    registry.add_profile(&moved).unwrap();
    let error = registry::check_keys(&registry, Some(&both)).unwrap_err();
    assert!(error.to_string().contains("profile c"), "{error}");
}

#[test]
fn another_key_takes_over_while_the_former_still_opens() {
    let (folder, registry) = fresh();
    registry.add_profile(&sealed("a", &key(1))).unwrap();
    registry.add_profile(&sealed("b", &key(2))).unwrap();
    let mut count = 0;
    let mut nonce = || {
        count += 1;
        Ok([count; 12])
    };
    let running = Keys::new(key(2), vec![key(1)]);
    // The command is a process of its own.
    let command = open(&folder);
    let rotated = registry::rotate(&command, Some(&running), &key(2), &mut nonce).unwrap();
    assert_eq!(rotated, 2);
    registry::check_keys(&registry, Some(&running)).unwrap();
    registry::check_keys(&registry, Some(&Keys::new(key(2), vec![]))).unwrap();
    assert_eq!(registry::rotate(&command, None, &key(2), &mut nonce).unwrap(), 2);
    let before = registry.profiles().unwrap();
    let nonces: Vec<&[u8]> = before.iter().map(|profile| &profile.credential.0[1..13]).collect();
    assert_eq!(nonces, [[3; 12], [4; 12]]);
    let wrong = Keys::new(key(3), vec![]);
    let error = registry::rotate(&command, Some(&wrong), &key(3), &mut nonce).unwrap_err();
    assert!(error.to_string().contains("profile a"), "{error}");
    let error = registry::rotate(&command, Some(&running), &key(3), &mut || Err("none".to_owned()));
    assert!(matches!(error, Err(RegistryError::Reseal(_))), "{error:?}");
    assert_eq!(registry.profiles().unwrap(), before);
}

/// All bytes of the file, its log and its index, whatever a reader may find there.
fn bytes_of(folder: &Folder) -> Vec<u8> {
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|at| at.unwrap().path()).collect();
    assert!(files.len() > 2, "{files:?}");
    files.iter().flat_map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn no_credential_is_ever_in_the_files() {
    let (folder, registry) = fresh();
    let shows = |what: &[u8]| memchr::memmem::find(&bytes_of(&folder), what).is_some();
    registry.add_profile(&sealed("a-name-to-find", &key(1))).unwrap();
    registry.add_profile(&sealed("b", &key(1))).unwrap();
    assert!(shows(b"a-name-to-find") && shows(&sealed("b", &key(1)).credential.0));
    assert!(!shows(MARKER.as_bytes()));
    let keys = Keys::new(key(1), vec![]);
    registry::rotate(&registry, Some(&keys), &key(2), &mut || Ok([5; 12])).unwrap();
    assert!(!shows(MARKER.as_bytes()));
    registry.remove_profile("id-of-b").unwrap();
    drop(registry);
    let bytes = fs::read(folder.file()).unwrap();
    let shows = |what: &[u8]| memchr::memmem::find(&bytes, what).is_some();
    assert!(shows(b"a-name-to-find") && !shows(MARKER.as_bytes()));
    // What was sealed by the former key, and what was removed, is wiped and not only unlinked.
    for former in ["a-name-to-find", "b"] {
        assert!(!shows(&sealed(former, &key(1)).credential.0), "{former}");
    }
}
