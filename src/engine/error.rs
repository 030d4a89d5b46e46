//! What can go wrong in the engine, in its own words; `http::problem` gives it a status.

use super::work::Question;
use goodword_core::{Invalid, explain::Reason};
use goodword_store as store;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A value that is not what it must be. `field` is a JSON pointer into the request
    /// (`/rule/minimum_spend`) or the name of a parameter.
    #[error("{field}: expected {expected}")]
    Invalid { field: String, expected: String },
    /// There is no such thing on this side of the workspace.
    #[error("there is no such {what}")]
    NotFound { what: &'static str },
    /// It is there already, or its state does not allow this.
    #[error("{detail}")]
    Conflict { reason: Option<Reason>, detail: String },
    /// The key that was sent has been used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyReuse,
    /// The request of this key was carried out; its answer went with the person that it told of.
    #[error("the answer to this idempotency key was erased")]
    IdempotencyErased,
    /// The request of this key was carried out; its answer showed a secret that cannot be shown again.
    #[error("the secret of {made} was shown when it was made")]
    SecretWasShown { made: String },
    /// The request of this key is being carried out.
    #[error("the request of this idempotency key is still under way")]
    IdempotencyUnderWay,
    /// The version that was named in If-Match is not the current one.
    #[error("the version has changed: it is {current}")]
    VersionChanged { current: i64 },
    /// Conditions must be evaluated first; the engine does and tries again by itself.
    #[error("the configuration changed again and again meanwhile")]
    Unanswered(Vec<Question>),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    pub fn invalid(field: impl Into<String>, invalid: Invalid) -> Self {
        Self::Invalid { field: field.into(), expected: invalid.expected }
    }

    pub fn conflict(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Conflict { reason: Some(reason), detail: detail.into() }
    }
}
