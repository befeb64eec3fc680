//! Tests of whole files: what comes along, what is told, what is refused.

mod autoproxy;
mod execwall;
mod optmod;
mod strange;

use crate::config::import::{Imported, import};
use crate::config::snapshot::Snapshot;

/// A file that can be imported, and what ours then says with every variable set.
pub(super) fn imported(text: &str) -> (Imported, Snapshot) {
    let imported = import(text, "file.yaml").unwrap_or_else(|problems| panic!("{problems:?}"));
    let env = |name: &str| {
        let variable = imported.variables.iter().find(|variable| variable.name == name)?;
        Some(if variable.is_address {
            "https://example.com/v1".to_owned()
        } else {
            format!("value-of-{name}")
        })
    };
    let snapshot = crate::config::load(&imported.yaml, "weir.yaml", &env);
    let snapshot = snapshot.unwrap_or_else(|it| panic!("{it:?}\n{}", imported.yaml));
    (imported, snapshot)
}

/// Whether something is told about that path.
pub(super) fn tells(imported: &Imported, path: &str) -> bool {
    imported.losses.iter().any(|loss| loss.path == path)
}

/// The one fault of a file.
pub(super) fn fault(text: &str) -> String {
    let faults = import(text, "file.yaml").expect_err(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].to_string()
}
