//! The environment in which the plugin is called (CNI specification,
//! "Parameters").

use std::env::{self, VarError};

use tapwire::sys::NetNs;
use tapwire::{Error, GuestName, IfName};

use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::guest;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Delete,
    Check,
    Status,
    Collect,
    Version,
}

impl Command {
    pub(crate) fn read() -> Result<Self, Failure> {
        Ok(match &*required("CNI_COMMAND")? {
            "ADD" => Self::Add,
            "DEL" => Self::Delete,
            "CHECK" => Self::Check,
            "STATUS" => Self::Status,
            "GC" => Self::Collect,
            "VERSION" => Self::Version,
            other => {
                let why = format!("{other} is no command");
                return Err(Failure::told(Code::Environment, "CNI_COMMAND", why));
            }
        })
    }
}

/// For which container and interface it is called.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) container: String,
    /// The path of the container's namespace, as it was given.
    pub(crate) path: String,
    pub(crate) netns: Option<NetNs>,
    pub(crate) interface: IfName,
    /// How the guest is called in the kernel.
    pub(crate) guest: GuestName,
}

impl Call {
    /// For ADD and CHECK: the namespace must be there.
    pub(crate) fn read(config: &Config) -> Result<Self, Failure> {
        let mut call = Self::without_netns(config)?;
        call.path = required("CNI_NETNS")?;
        let opened = NetNs::open(&call.path);
        let opened = opened.map_err(|error| Failure::new(Code::Environment, "CNI_NETNS", &error));
        call.netns = Some(opened?);
        Ok(call)
    }

    /// For DEL: the namespace may be gone, or another file be in its place.
    pub(crate) fn read_for_delete(config: &Config) -> Result<Self, Failure> {
        let mut call = Self::without_netns(config)?;
        call.path = optional("CNI_NETNS")?.unwrap_or_default();
        if !call.path.is_empty() {
            match NetNs::open(&call.path) {
                Ok(netns) => call.netns = Some(netns),
                Err(error) => eprintln!("CNI_NETNS {}: {error}", call.path),
            }
        }
        Ok(call)
    }

    fn without_netns(config: &Config) -> Result<Self, Failure> {
        let container = required("CNI_CONTAINERID")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !container.starts_with(|first: char| first.is_ascii_alphanumeric())
            || !container.bytes().all(plain)
        {
            let why = "is not made of letters, digits, dots, dashes and underscores";
            return Err(Failure::told(Code::Environment, "CNI_CONTAINERID", why));
        }
        let interface = required("CNI_IFNAME")?;
        let invalid = |error| Failure::new(Code::Environment, "CNI_IFNAME", &error);
        let name = IfName::new(&interface).map_err(invalid)?;
        Ok(Self {
            guest: guest::name(&config.name, &container, &interface)?,
            container,
            path: String::new(),
            netns: None,
            interface: name,
        })
    }

    /// Does `work` in the container's namespace.
    pub(crate) fn inside<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<Option<T>, Failure> {
        match &self.netns {
            Some(netns) => netns.run(work).map_err(Failure::from)?.map(Some),
            None => Ok(None),
        }
    }

    /// [`inside`](Self::inside), where it is known to be there.
    pub(crate) fn in_pod<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let absent = || Failure::told(Code::Environment, "CNI_NETNS", "is missing");
        self.inside(work)?.ok_or_else(absent)
    }
}

/// Whether there was nothing; that is no failure of what removes it.
pub(crate) fn or_nothing(result: Result<(), Error>) -> Result<(), Failure> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        result => Ok(result?),
    }
}

fn required(name: &'static str) -> Result<String, Failure> {
    match optional(name)? {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(Failure::told(Code::Environment, name, "is missing")),
    }
}

fn optional(name: &'static str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(Failure::new(Code::Environment, name, &error)),
    }
}
