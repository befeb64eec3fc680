//! Where a ledger lies, as the configuration says it: `sqlite:PATH`, `sqlite:PATH?synchronous=normal`.
//!
//! It says nothing about whether anything lies there.

use std::path::PathBuf;

/// What a commit has to survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: each commit waits for the disk.
    #[default]
    Full,
    /// The end of the process, however sudden. Loss of power may take the last commits.
    Normal,
}

/// A ledger's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file of the embedded engine. A relative path starts at the working directory.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What a commit survives.
        durability: Durability,
    },
}

/// Why a text names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A shared engine, which does not exist yet.
    #[error("postgres is not supported yet; write sqlite:PATH")]
    Postgres,
    /// Something else in front of the path.
    #[error("is not a place for a ledger; write sqlite:PATH")]
    Unknown,
    /// `sqlite:` alone, or a file in memory only, which would forget.
    #[error("names no file; write sqlite:PATH")]
    NoFile,
    /// An option other than `synchronous=full` and `synchronous=normal`.
    #[error(
        "has an option that is not known: {0} (known are synchronous=full and synchronous=normal)"
    )]
    Option(String),
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// What is wrong with the text, to be put after its name.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        if ["postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(PlaceError::Postgres);
        }
        let rest = text.strip_prefix("sqlite:").ok_or(PlaceError::Unknown)?;
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        // `sqlite:///var/lib/x` is how many other programs write `sqlite:/var/lib/x`.
        let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
        if path.is_empty() || path.ends_with('/') || path == ":memory:" {
            return Err(PlaceError::NoFile);
        }
        let mut durability = Durability::default();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            durability = match option {
                "synchronous=full" => Durability::Full,
                "synchronous=normal" => Durability::Normal,
                other => return Err(PlaceError::Option(other.to_owned())),
            };
        }
        Ok(Self::Sqlite { path: PathBuf::from(path), durability })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_sqlite(text: &str, path: &str, durability: Durability) {
        assert_eq!(Place::parse(text), Ok(Place::Sqlite { path: PathBuf::from(path), durability }));
    }

    #[test]
    fn places_are_read() {
        assert_sqlite("sqlite:weir.db", "weir.db", Durability::Full);
        assert_sqlite("sqlite:/a/b.db", "/a/b.db", Durability::Full);
        assert_sqlite("sqlite:///a/b.db", "/a/b.db", Durability::Full);
        assert_sqlite("sqlite:a.db?synchronous=normal", "a.db", Durability::Normal);
        assert_sqlite("sqlite:a.db?synchronous=full", "a.db", Durability::Full);
    }

    #[test]
    fn what_is_no_place_says_why() {
        let wrong = |text: &str| Place::parse(text).expect_err(text);
        assert_eq!(wrong("postgres://host/db"), PlaceError::Postgres);
        assert_eq!(wrong("postgresql://host/db"), PlaceError::Postgres);
        assert!(wrong("postgres://host/db").to_string().contains("not supported yet"));
        assert_eq!(wrong("weir.db"), PlaceError::Unknown);
        assert_eq!(wrong("redis://x"), PlaceError::Unknown);
        for text in ["sqlite:", "sqlite::memory:", "sqlite:folder/"] {
            assert_eq!(wrong(text), PlaceError::NoFile);
        }
        assert_eq!(wrong("sqlite:a?sync=1"), PlaceError::Option("sync=1".to_owned()));
    }
}
