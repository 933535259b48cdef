//! Why there is no network to be taken.

use std::sync::Arc;

use crate::error::Error;

/// Why a [`Pool`](super::Pool) gives no network.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// None is ready yet; more are being made.
    #[error("no network of the pool is ready yet")]
    NotReady,
    /// None is ready, and none can be made. The pool goes on trying.
    #[error("no network of the pool is ready, and none can be made")]
    Failed(#[source] Arc<Error>),
}
