//! The devices that a base chain or a flowtable is attached to.

use crate::types::IfName;
use crate::wire::uapi::nf_tables::{NFTA_DEVICE_NAME, NFTA_DEVICE_PREFIX};
use crate::wire::{Attrs, DecodeError, Writer};

use super::name::lossy;

/// A device by its name, or all devices whose names begin alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Device {
    /// With a `*` behind a prefix.
    text: Box<str>,
    prefix: bool,
}

impl Device {
    pub(crate) fn named(name: &IfName) -> Self {
        Self::listed(name.as_str())
    }

    /// As the kernel lists it, which may be any bytes.
    pub(crate) fn listed(name: &str) -> Self {
        Self {
            text: name.into(),
            prefix: false,
        }
    }

    pub(crate) fn prefix(prefix: &str) -> Self {
        Self {
            text: format!("{prefix}*").into(),
            prefix: true,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The name, if it is one.
    pub(crate) fn name(&self) -> Option<&str> {
        (!self.prefix).then_some(&self.text)
    }

    pub(crate) fn put(&self, out: &mut Writer<'_>) {
        match self.text.strip_suffix('*') {
            Some(prefix) if self.prefix => out.put(NFTA_DEVICE_PREFIX, prefix),
            _ => out.put(NFTA_DEVICE_NAME, &self.text),
        }
    }

    /// Reads a list of them.
    pub(crate) fn read(list: Attrs<'_>) -> Result<Vec<Self>, DecodeError> {
        let mut devices = Vec::new();
        for attribute in list {
            let attribute = attribute?;
            let text = lossy(attribute.payload());
            if attribute.kind() == NFTA_DEVICE_NAME {
                devices.push(Self::listed(&text));
            } else if attribute.kind() == NFTA_DEVICE_PREFIX {
                devices.push(Self::prefix(&text));
            }
        }
        Ok(devices)
    }
}
