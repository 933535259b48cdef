//! The one error type: what was tried, what the kernel said, and where.

use std::fmt;
use std::io;

pub use crate::conflict::{Conflict, ForeignChain, ForeignRule, HostPort, Passing, Winner};
use crate::wire::{DecodeError, EncodeError};

/// Why an operation failed.
///
/// `Display` states its own level only; [`source`](std::error::Error::source)
/// leads to the level below. Match on the errno with
/// [`raw_os_error`](Self::raw_os_error) or with the `is_…` questions.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel answered a netlink request with an error.
    #[error("{operation}")]
    Refused {
        /// What was asked, and which part of it the kernel points at.
        operation: Operation,
        /// What the kernel said.
        source: Refusal,
    },
    /// A system call failed.
    #[error("{call} {subject}")]
    System {
        /// The call, by its manual page: `open`, `ioctl TUNSETIFF`.
        call: &'static str,
        /// What it was applied to, in the caller's words.
        subject: Box<str>,
        /// What the kernel returned.
        source: io::Error,
    },
    /// A value cannot be used; nothing was sent to the kernel.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// What is wanted clashes with what is there; nothing was changed.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Something that was named does not exist; nothing was changed.
    #[error("no {kind} named {name}")]
    Absent {
        /// The kind of thing: `guest`, `exposure`.
        kind: &'static str,
        /// Its name in the caller's words.
        name: Box<str>,
    },
    /// There is no room for more; nothing was changed.
    #[error("the {what} are used up (room for {capacity})")]
    Full {
        /// What has a limited number.
        what: &'static str,
        /// That number.
        capacity: u32,
    },
    /// A value does not fit the netlink encoding.
    #[error("encoding failed")]
    Encode(#[from] EncodeError),
    /// The kernel's answer could not be read.
    #[error("the kernel's answer cannot be read")]
    Decode(#[from] DecodeError),
    /// The ruleset changed between the read and the batch that relied on it;
    /// nothing was committed.
    #[error("the ruleset changed since generation {generation} was read")]
    Stale {
        /// The generation that the batch was based on.
        generation: u32,
    },
    /// The reply to a batch was lost, so it may or may not be in force.
    /// Read the generation: a higher one than `before` means that something
    /// was committed since.
    #[error("the outcome of the batch is unknown (generation before it: {before:?})")]
    UnknownOutcome {
        /// The generation that the batch was based on, if it was given one.
        before: Option<u32>,
        /// Why the reply is missing.
        source: io::Error,
    },
    /// A dump was interrupted by changes each time it was repeated.
    #[error("{operation}: interrupted by changes {attempts} times")]
    Interrupted {
        /// What was being listed.
        operation: Operation,
        /// How many times it was tried.
        attempts: u32,
    },
    /// The socket's send buffer cannot be made large enough for one message
    /// or one batch; raise `net.core.wmem_max`, or have `CAP_NET_ADMIN` in
    /// the initial user namespace.
    #[error("{wanted} bytes do not fit the netlink send buffer of {available}")]
    TooLarge {
        /// Size of what was to be sent, in bytes.
        wanted: usize,
        /// Size that the kernel allows, in bytes.
        available: usize,
    },
    /// A step failed, and so did a part of undoing those before it: something
    /// is left, and goes when the undoing is repeated.
    #[error("half done, for undoing it failed too ({undoing})")]
    HalfDone {
        /// Why the step failed, the first error. The questions asked of this
        /// one are answered for it.
        #[source]
        error: Box<Self>,
        /// Why undoing failed.
        undoing: Box<Self>,
    },
    /// This kernel lacks what is needed.
    #[error("this kernel does not support {feature}")]
    Unsupported {
        /// What is missing, in the kernel's words.
        feature: &'static str,
    },
}

impl Error {
    /// Wraps the error that the last system call left behind.
    pub(crate) fn system(
        call: &'static str,
        subject: impl fmt::Display,
        source: io::Error,
    ) -> Self {
        Self::System {
            call,
            subject: subject.to_string().into(),
            source,
        }
    }

    /// This error, and with it that of undoing what was done before, if that
    /// failed too.
    pub(crate) fn undone(self, undoing: Result<(), Self>) -> Self {
        match undoing {
            Ok(()) => self,
            Err(undoing) => Self::HalfDone {
                error: self.into(),
                undoing: undoing.into(),
            },
        }
    }

    /// The first error, where a failed undoing came on top of it.
    fn first(&self) -> &Self {
        match self {
            Self::HalfDone { error, .. } => error.first(),
            error => error,
        }
    }

    /// The errno behind this error, if the kernel gave one (see `errno(3)`).
    pub fn raw_os_error(&self) -> Option<i32> {
        match self.first() {
            Self::Refused { source, .. } => Some(source.errno()),
            Self::System { source, .. } | Self::UnknownOutcome { source, .. } => {
                source.raw_os_error()
            }
            Self::Stale { .. } => Some(libc::ERESTART),
            _ => None,
        }
    }

    /// Whether the thing does not exist (`ENOENT`, `ENODEV`, `ESRCH`, or
    /// [`Absent`](Self::Absent)).
    pub fn is_not_found(&self) -> bool {
        matches!(self.first(), Self::Absent { .. })
            || matches!(
                self.raw_os_error(),
                Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::ENXIO | libc::EADDRNOTAVAIL)
            )
    }

    /// Whether the thing is there already (`EEXIST`, or a
    /// [`Conflict`](Self::Conflict)).
    pub fn is_exists(&self) -> bool {
        matches!(self.first(), Self::Conflict(_)) || self.raw_os_error() == Some(libc::EEXIST)
    }

    /// Whether the process lacks a right (`EPERM`, `EACCES`).
    pub fn is_permission_denied(&self) -> bool {
        matches!(self.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }

    /// Whether another holds the thing (`EBUSY`).
    pub fn is_busy(&self) -> bool {
        self.raw_os_error() == Some(libc::EBUSY)
    }
}

/// What was asked of the kernel, in the caller's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    what: Box<str>,
    index: Option<usize>,
    part: Option<Part>,
}

impl Operation {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string().into(),
            index: None,
            part: None,
        }
    }

    pub(crate) fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    pub(crate) fn part(mut self, part: Option<Part>) -> Self {
        self.part = part;
        self
    }

    /// The operation in words: `add rule inet riklet forward`.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Its place in the batch, counted from 0; `None` outside of one.
    pub fn index(&self) -> Option<usize> {
        self.index
    }

    /// The part that the kernel's error offset points at.
    pub fn failing_part(&self) -> Option<Part> {
        self.part
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.index {
            write!(f, "operation {index}: ")?;
        }
        f.write_str(&self.what)?;
        match self.part {
            Some(part) => write!(f, ", {part}"),
            None => Ok(()),
        }
    }
}

/// The part of an operation that the kernel found at fault, both counted
/// from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// An expression of a rule.
    Expression(usize),
    /// An element of a set or map.
    Element(usize),
    /// An attribute, by its number in the message's own enumeration.
    Attribute(u16),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expression(index) => write!(f, "expression {index}"),
            Self::Element(index) => write!(f, "element {index}"),
            Self::Attribute(kind) => write!(f, "attribute {kind}"),
        }
    }
}

/// What the kernel said: the errno of `NLMSG_ERROR` and its extended
/// acknowledgement (`NLMSGERR_ATTR_*` of `linux/netlink.h`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    errno: i32,
    message: Option<Box<str>>,
    offset: Option<u32>,
    missing: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(errno: i32, message: Option<&str>, offset: Option<u32>) -> Self {
        Self {
            errno,
            message: message.map(Into::into),
            offset,
            missing: None,
        }
    }

    pub(crate) fn lacks(mut self, missing: Option<u32>) -> Self {
        self.missing = missing;
        self
    }

    /// The errno, positive (see `errno(3)`).
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// The kernel's own words, if it gave any.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Offset of the offending attribute from the start of the request, in
    /// bytes, netlink header included.
    pub fn offset(&self) -> Option<u32> {
        self.offset
    }

    /// The number of the attribute that the request lacks, if the kernel says
    /// so. `nf_tables` never does.
    pub fn missing(&self) -> Option<u32> {
        self.missing
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.errno))?;
        if let Some(kind) = self.missing {
            write!(f, ": attribute {kind} is missing")?;
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None if self.errno == libc::EPERM => {
                f.write_str(": needs CAP_NET_ADMIN in the network namespace")
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// A value that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {why}")]
pub struct Invalid {
    what: &'static str,
    value: Box<str>,
    why: &'static str,
}

impl Invalid {
    /// `what` is the kind of value (`interface name`), `why` completes the
    /// sentence (`is longer than 15 bytes`).
    pub(crate) fn new(what: &'static str, value: impl fmt::Display, why: &'static str) -> Self {
        Self {
            what,
            value: value.to_string().into(),
            why,
        }
    }

    /// The kind of value: `interface name`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The value as the caller gave it.
    pub fn value(&self) -> &str {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn failed_undoing_does_not_hide_the_first_error() {
        let refused = |what: &str, errno| Error::Refused {
            operation: Operation::new(what),
            source: Refusal::new(errno, None, None),
        };
        let first = || refused("add link", libc::EPERM);
        assert_eq!(first().undone(Ok(())).to_string(), "add link");
        let both = first().undone(Err(refused("delete link", libc::ENODEV)));
        assert_eq!(both.raw_os_error(), Some(libc::EPERM));
        assert!(both.is_permission_denied() && !both.is_not_found());
        assert_eq!(both.source().unwrap().to_string(), "add link");
        assert!(both.to_string().contains("delete link"));
    }
}
