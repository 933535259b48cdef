//! What a runtime is told that went wrong (CNI specification, "Error").

use std::error::Error as _;
use std::fmt::Display;

use serde_json::{Value, json};
use tapwire::Error;

/// A failure in CNI's terms.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    what: String,
    details: String,
}

/// CNI's numbers of failures; from 100 on they are the plugin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Version,
    Environment,
    Io,
    Decode,
    Config,
    TryAgain,
    /// ADD cannot be served.
    Unavailable,
    /// The kernel refused something.
    Kernel,
    /// Something is another's already.
    Conflict,
    /// CHECK found something else than ADD made.
    Check,
}

impl Code {
    fn number(self) -> u32 {
        match self {
            Self::Version => 1,
            Self::Environment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::Config => 7,
            Self::TryAgain => 11,
            Self::Unavailable => 50,
            Self::Kernel => 100,
            Self::Conflict => 101,
            Self::Check => 102,
        }
    }
}

impl Failure {
    /// Something that has causes of its own.
    pub(crate) fn new(code: Code, what: impl Display, error: &dyn std::error::Error) -> Self {
        let mut details = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            details = format!("{details}: {cause}");
            below = cause.source();
        }
        Self {
            code,
            what: what.to_string(),
            details,
        }
    }

    /// Something that was found here.
    pub(crate) fn told(code: Code, what: impl Display, why: impl Display) -> Self {
        Self {
            code,
            what: what.to_string(),
            details: why.to_string(),
        }
    }

    /// As it is printed.
    pub(crate) fn to_json(&self, version: &str) -> Value {
        json!({
            "cniVersion": version,
            "code": self.code.number(),
            "msg": self.what,
            "details": self.details,
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Invalid(_) => Code::Config,
            Error::Conflict(_) => Code::Conflict,
            Error::Stale { .. } | Error::UnknownOutcome { .. } => Code::TryAgain,
            Error::System { .. } => Code::Io,
            _ => Code::Kernel,
        };
        match error.source() {
            Some(_) => Self::new(code, &error, &error),
            None => Self::told(code, &error, ""),
        }
    }
}

impl From<tapwire::error::Invalid> for Failure {
    fn from(invalid: tapwire::error::Invalid) -> Self {
        Self::told(Code::Config, invalid.what(), &invalid)
    }
}
