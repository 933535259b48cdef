//! The stand-ins that examples and tests rely on do what they claim.

#[path = "../examples/support/mod.rs"]
mod support;
