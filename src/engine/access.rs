//! API keys: who may do what, and on which side.

use super::Space;
use goodword_core::ids::{ApiKeyId, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a key may do. `write` holds everything but `admin`; `read` only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything but keys.
    Read,
    /// Create and change campaigns, participants and leads, qualify, decide on rewards.
    Write,
    /// Only report: record conversions, qualify and unqualify leads, add participants.
    Report,
    /// Decide on rewards: approve, reject, issue, reverse.
    Rewards,
    /// Everything, keys and clock included.
    Admin,
}

impl Scope {
    /// Whether a key that holds this scope may do what needs the other.
    pub fn covers(self, needed: Scope) -> bool {
        match self {
            Scope::Admin => true,
            Scope::Write => needed != Scope::Admin,
            Scope::Report => matches!(needed, Scope::Report),
            Scope::Rewards => matches!(needed, Scope::Rewards | Scope::Read),
            Scope::Read => needed == Scope::Read,
        }
    }

    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Write, Scope::Report, Scope::Rewards, Scope::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Report => "report",
            Scope::Rewards => "rewards",
            Scope::Admin => "admin",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// Who is calling, as an API key says.
#[derive(Debug, Clone)]
pub struct Access {
    pub key_id: ApiKeyId,
    pub key_name: String,
    pub workspace_id: WorkspaceId,
    pub workspace_name: String,
    pub space: Space,
    pub scopes: Vec<Scope>,
}

impl Access {
    pub fn may(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }
}
