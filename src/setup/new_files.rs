//! Files that are written all or none, and never over others unless that is wanted.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file to be.
pub struct NewFile {
    /// Where.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
    /// Whether nobody else may read it.
    pub secret: bool,
}

/// Writes these files. Without `force`, nothing is written if one of them is there already.
///
/// # Errors
/// The files that are there, or what could not be written.
pub fn write(files: &[NewFile], force: bool) -> Result<(), String> {
    if !force {
        all_free(&files.iter().map(|file| file.path.as_path()).collect::<Vec<_>>())?;
    }
    let mut staged = Staged { files, written: 0, placed: 0, force };
    // What is left behind when this fails is cleared away by `Staged`.
    staged.write_all().and_then(|()| staged.place_all())
}

/// Makes sure that there are no files yet.
///
/// # Errors
/// Those that are there.
pub fn all_free(paths: &[&Path]) -> Result<(), String> {
    let there = paths.iter().filter(|path| is_there(path));
    let names: Vec<String> = there.map(|path| path.display().to_string()).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(format!("{}: exists already (--force overwrites)", names.join(", ")))
}

/// A link that leads nowhere is there as well.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    path.with_file_name(format!(".{name}.new-{}", std::process::id()))
}

struct Staged<'a> {
    files: &'a [NewFile],
    /// How many have been written beside their place.
    written: usize,
    /// How many are in their place.
    placed: usize,
    force: bool,
}

impl Staged<'_> {
    fn write_all(&mut self) -> Result<(), String> {
        for file in self.files {
            let temporary = beside(&file.path);
            let done = write_one(&temporary, file);
            self.written += 1;
            done.map_err(|error| format!("{}: {error}", file.path.display()))?;
        }
        Ok(())
    }

    fn place_all(&mut self) -> Result<(), String> {
        for file in self.files {
            let temporary = beside(&file.path);
            let done = if self.force {
                fs::rename(&temporary, &file.path)
            } else {
                // Unlike a renaming, a link never takes the place of what came there meanwhile.
                fs::hard_link(&temporary, &file.path)
            };
            done.map_err(|error| format!("{}: {error}", file.path.display()))?;
            self.placed += 1;
        }
        Ok(())
    }
}

impl Drop for Staged<'_> {
    /// Nothing can be done about a file that does not go.
    fn drop(&mut self) {
        for file in &self.files[..self.written] {
            let _ = fs::remove_file(beside(&file.path));
        }
        if self.placed < self.files.len() && !self.force {
            for file in &self.files[..self.placed] {
                let _ = fs::remove_file(&file.path);
            }
        }
    }
}

fn write_one(path: &Path, file: &NewFile) -> io::Result<()> {
    let mode = if file.secret { 0o600 } else { 0o644 };
    let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    out.write_all(file.text.as_bytes())?;
    out.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("weir-new-files-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn two(folder: &Path) -> [NewFile; 2] {
        let file = |name: &str, secret| NewFile {
            path: folder.join(name),
            text: format!("text of {name}"),
            secret,
        };
        [file("a.yaml", false), file(".env", true)]
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_written_with_their_modes_and_nothing_else() {
        let folder = folder("modes");
        write(&two(&folder), false).unwrap();
        assert_eq!(names(&folder), [".env", "a.yaml"]);
        assert_eq!(fs::read_to_string(folder.join(".env")).unwrap(), "text of .env");
        let mode = fs::metadata(folder.join(".env")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_file_in_the_way_and_nothing_is_written() {
        let folder = folder("way");
        for in_the_way in ["a.yaml", ".env"] {
            fs::write(folder.join(in_the_way), "mine").unwrap();
            let said = write(&two(&folder), false).unwrap_err();
            assert!(said.contains(in_the_way) && said.contains("--force"), "{said}");
            assert_eq!(names(&folder), [in_the_way]);
            assert_eq!(fs::read_to_string(folder.join(in_the_way)).unwrap(), "mine");
            fs::remove_file(folder.join(in_the_way)).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", folder.join(".env")).unwrap();
        assert!(write(&two(&folder), false).is_err(), "a link that leads nowhere is in the way");
        write(&two(&folder), true).unwrap();
        assert_eq!(fs::read_to_string(folder.join(".env")).unwrap(), "text of .env");
        let mode = fs::metadata(folder.join(".env")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_second_file_that_cannot_be_written_takes_the_first_along() {
        let folder = folder("second");
        let [first, second] = two(&folder);
        let second = NewFile { path: folder.join("no/such/folder/.env"), ..second };
        let said = write(&[first, second], false).unwrap_err();
        assert!(said.contains("no/such/folder"), "{said}");
        assert_eq!(names(&folder), Vec::<String>::new());
        fs::remove_dir_all(folder).unwrap();
    }
}
