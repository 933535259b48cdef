//! Files in which a launcher finds what a guest must be told. Nothing here
//! depends on them: the kernel knows what was made.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use serde_json::Value;
use tapwire::GuestName;

use crate::config::Config;
use crate::failure::{Code, Failure};

/// `stateDir`.
pub(crate) struct Store(PathBuf);

impl Store {
    pub(crate) fn new(config: &Config) -> Self {
        Self(config.state.clone())
    }

    /// Writes `<guest>.json`, as a whole or not at all.
    pub(crate) fn write(&self, guest: &GuestName, told: &Value) -> Result<(), Failure> {
        let (file, draft) = (self.file(guest), self.0.join(format!(".{guest}.draft")));
        fs::create_dir_all(&self.0)
            .and_then(|()| fs::write(&draft, format!("{told:#}\n")))
            .and_then(|()| fs::rename(&draft, &file))
            .map_err(|error| self.failed(&error))
    }

    pub(crate) fn remove(&self, guest: &GuestName) -> Result<(), Failure> {
        for file in [self.file(guest), self.0.join(format!(".{guest}.draft"))] {
            match fs::remove_file(file) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.map_err(|error| self.failed(&error))?,
            }
        }
        Ok(())
    }

    /// The guests of which there is a file.
    pub(crate) fn names(&self) -> Result<Vec<String>, Failure> {
        let files = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            files => files.map_err(|error| self.failed(&error))?,
        };
        let mut names = Vec::new();
        for file in files {
            let name = file.map_err(|error| self.failed(&error))?.file_name();
            let name = name.to_str().unwrap_or_default();
            let draft = name
                .strip_prefix('.')
                .and_then(|it| it.strip_suffix(".draft"));
            names.extend(name.strip_suffix(".json").or(draft).map(str::to_owned));
        }
        Ok(names)
    }

    fn file(&self, guest: &GuestName) -> PathBuf {
        self.0.join(format!("{guest}.json"))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::new(Code::Io, format!("stateDir {}", self.0.display()), error)
    }
}
