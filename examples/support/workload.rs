//! Riklet's definition of a workload: a function, and where it is exposed.

use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A function to run, as its JSON file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    name: String,
    rootfs: String,
    exposures: Vec<Port>,
}

impl Workload {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it: the file, the field and the rule.
    pub(crate) fn load(path: impl AsRef<Path>) -> Result<Self, WorkloadError> {
        let path = path.as_ref();
        let text = fs::read_to_string(path).map_err(|source| WorkloadError::Unreadable {
            file: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// The function's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where its root file system is to be had.
    pub(crate) fn rootfs(&self) -> &str {
        &self.rootfs
    }

    /// The ports of the node that lead to the function.
    pub(crate) fn exposures(&self) -> &[Port] {
        &self.exposures
    }

    /// Reads a text that came from `file`.
    fn parse(text: &str, file: &Path) -> Result<Self, WorkloadError> {
        let json = serde_json::from_str(text).map_err(|source| WorkloadError::NotJson {
            file: file.to_owned(),
            source,
        })?;
        Self::read(&Field::root(&json)).map_err(|(field, problem)| WorkloadError::Field {
            file: file.to_owned(),
            field,
            problem,
        })
    }

    fn read(root: &Field<'_>) -> Result<Self, Fault> {
        root.get("apiVersion")?.one_of(&["v0"])?;
        root.get("kind")?.one_of(&["Function"])?;
        let name = root.get("name")?;
        if !is_name(name.text()?) {
            return Err(name.fault(Problem::Name));
        }
        let function = root.get("spec")?.get("function")?;
        let exposures = match function.find("exposure") {
            None => Vec::new(),
            Some(exposure) => exposure
                .items()
                .iter()
                .map(Port::read)
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            name: name.text()?.to_owned(),
            rootfs: function.get("execution")?.get("rootfs")?.text()?.to_owned(),
            exposures,
        })
    }
}

/// A port of the node that leads to a port of the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    protocol: Protocol,
    node: NonZeroU16,
    target: NonZeroU16,
}

impl Port {
    /// The protocol, TCP unless the file says otherwise.
    pub(crate) fn protocol(self) -> Protocol {
        self.protocol
    }

    /// The node's port.
    pub(crate) fn port(self) -> u16 {
        self.node.get()
    }

    /// The function's port.
    pub(crate) fn target_port(self) -> u16 {
        self.target.get()
    }

    fn read(field: &Field<'_>) -> Result<Self, Fault> {
        field.get("type")?.one_of(&["NodePort"])?;
        let protocol = match field.find("protocol") {
            None => Protocol::Tcp,
            Some(protocol) => match protocol.one_of(&["TCP", "UDP"])? {
                "UDP" => Protocol::Udp,
                _ => Protocol::Tcp,
            },
        };
        Ok(Self {
            protocol,
            node: field.get("port")?.port()?,
            target: field.get("targetPort")?.port()?,
        })
    }
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Why a workload's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkloadError {
    /// The file cannot be read.
    #[error("{}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    /// The file holds something else.
    #[error("{}: not JSON", file.display())]
    NotJson {
        file: PathBuf,
        source: serde_json::Error,
    },
    /// A field is missing or cannot be used.
    #[error("{}: {field}: {problem}", file.display())]
    Field {
        file: PathBuf,
        /// Its path in the file: `spec.function.exposure.port`.
        field: String,
        problem: Problem,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("is missing")]
    Missing,
    #[error("is {0}, not text")]
    NotText(Box<str>),
    #[error("is {0}, not an object")]
    NotObject(Box<str>),
    #[error("is {0}, not a port from 1 to 65535")]
    NotPort(Box<str>),
    #[error("is {found}, but can only be {}", .known.join(" or "))]
    Unknown {
        found: Box<str>,
        known: &'static [&'static str],
    },
    #[error("must be 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit")]
    Name,
}

/// A value and the way to it.
struct Field<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    fn root(value: &'a Value) -> Self {
        Self {
            path: String::new(),
            value,
        }
    }

    /// The member of that name, which has to be there.
    fn get(&self, name: &str) -> Result<Self, Fault> {
        if !self.value.is_object() {
            return Err(self.fault(Problem::NotObject(self.value.to_string().into())));
        }
        self.find(name)
            .ok_or_else(|| (self.path_of(name), Problem::Missing))
    }

    /// The member of that name, if it is there and not null.
    fn find(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self {
            path: self.path_of(name),
            value,
        })
    }

    /// The values of an array; of anything else, itself.
    fn items(&self) -> Vec<Self> {
        let path = |place: Option<usize>| match place {
            Some(place) => format!("{}[{place}]", self.path),
            None => self.path.clone(),
        };
        let field = |place, value| Self {
            path: path(place),
            value,
        };
        match self.value {
            Value::Array(values) => values
                .iter()
                .enumerate()
                .map(|(place, value)| field(Some(place), value))
                .collect(),
            value => vec![field(None, value)],
        }
    }

    fn text(&self) -> Result<&'a str, Fault> {
        self.value
            .as_str()
            .ok_or_else(|| self.fault(Problem::NotText(self.value.to_string().into())))
    }

    fn one_of(&self, known: &'static [&'static str]) -> Result<&'static str, Fault> {
        let found = self.text()?;
        known
            .iter()
            .find(|&&word| word == found)
            .copied()
            .ok_or_else(|| {
                self.fault(Problem::Unknown {
                    found: self.value.to_string().into(),
                    known,
                })
            })
    }

    fn port(&self) -> Result<NonZeroU16, Fault> {
        self.value
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .and_then(NonZeroU16::new)
            .ok_or_else(|| self.fault(Problem::NotPort(self.value.to_string().into())))
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn fault(&self, problem: Problem) -> Fault {
        let path = if self.path.is_empty() {
            "the whole file".to_owned()
        } else {
            self.path.clone()
        };
        (path, problem)
    }
}

/// The path of a field, and what is wrong with it.
type Fault = (String, Problem);

/// Whether a name can stand in a link's alias, in a comment of the ruleset
/// and on a command line as it is.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(plain)
}

const LONGEST_NAME: usize = 63;

#[cfg(test)]
mod tests;
