//! What Goodword means: the vocabulary, the rules and the decisions.
//!
//! Nothing here does I/O. Time, ids and randomness are arguments, so that every
//! decision can be tested by example, run again over history and trusted.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ids`] | typed, prefixed ids |
//! | [`time`] | UTC instants in milliseconds |
//! | [`money`] | integer minor units with an ISO 4217 currency |
//! | [`text`] | e-mail addresses, codes, web addresses: parsed once, valid ever after |
//! | [`campaign`] | the versioned configuration of a campaign |
//! | [`condition`] | CEL conditions over a conversion's properties |
//! | [`mapping`] | from what somebody else sends to a conversion |
//! | [`reward`] | reward definitions and the reward's state machine |
//! | [`explain`] | checks and reasons: why something happened, or did not |
//! | [`decide`] | the pure functions from facts and a signal to a decision |

pub mod campaign;
pub mod condition;
pub mod decide;
pub mod explain;
pub mod ids;
pub mod mapping;
pub mod money;
pub mod reward;
pub mod text;
pub mod time;

/// A value from outside that is not what it must be. `expected` completes the
/// sentence "expected …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct Invalid {
    pub expected: String,
}

impl Invalid {
    pub fn new(expected: impl Into<String>) -> Self {
        Self { expected: expected.into() }
    }
}
