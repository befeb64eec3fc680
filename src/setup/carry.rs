//! `weir import`: reads a file of another system, writes ours, and tells what did not come along.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::app::{say_error, tell};
use crate::base::limit::CONFIG_BYTES_MAX;
use crate::config::import::{self, Imported, Variable};
use crate::setup::new_files::{self, NewFile};

/// Does it; without `output` our file goes to the standard output. All that is told goes to the other one.
///
/// # Errors
/// Everything that is wrong with the file, or a file in the way.
pub fn run(file: &Path, output: Option<PathBuf>, force: bool) -> Result<(), String> {
    let name = file.display().to_string();
    let text = read(file).map_err(|error| format!("{name}: {error}"))?;
    let imported = import::import(&text, &name).map_err(|problems| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })?;
    let Imported { seed, yaml, losses, variables } = imported;
    if let Some(path) = &output {
        if is_same(file, path) {
            return Err(format!(
                "{} is the file that is read; nothing was written",
                path.display()
            ));
        }
        let new = NewFile { path: path.clone(), text: yaml, secret: false };
        new_files::write(&[new], force)?;
    } else {
        tell(yaml.trim_end())?;
    }
    say_error(&format!("{name}: read as {seed}"));
    if !losses.is_empty() {
        say_error("not carried over, or not as it was:");
    }
    for loss in losses {
        say_error(&format!("  {loss}"));
    }
    if !variables.is_empty() {
        say_error("needed in the environment, or in `.env` beside the file:");
    }
    for variable in &variables {
        say_error(&format!("  {}", advice(variable)));
    }
    if let Some(path) = output {
        say_error(&format!("written: {0}; check it with `weir check -c {0}`", path.display()));
    }
    Ok(())
}

/// Whether both names lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    place(one).is_some_and(|found| place(other) == Some(found))
}

/// Where the value of a variable comes from. A key itself is never shown.
fn advice(variable: &Variable) -> String {
    let name = &variable.name;
    match &variable.moved_from {
        Some(path) => {
            format!("{name}: the key that stands in clear at {path}; write it as {name}='...'")
        }
        None => name.clone(),
    }
}

/// The text of a file that may be of any size.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than is allowed, so that too much is noticed by the reader.
    let most = u64::try_from(CONFIG_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}
