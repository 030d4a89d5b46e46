//! Workspaces, their API keys and the clock of their test side.

use super::{
    Error, Result, Space,
    access::{Access, Scope},
    endpoint::{self, EndpointFilter},
    list::{LIMIT_MAX, Listing, Page, Query},
    work::{Act, Secrecy, Work},
};
use goodword_core::{
    decide::Decision,
    ids::{ApiKeyId, EndpointId, WorkspaceId},
    text::Line,
    time::Timestamp,
};
use goodword_store::{self as store, Row, Tx};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

/// A secret that lets a program in. Shown once; only its hash is kept.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// `gw_live_` or `gw_test_` and 40 characters from 200 random bits.
    pub fn new(test: bool, random: &[u8; 25]) -> Self {
        const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut text = String::from(if test { "gw_test_" } else { "gw_live_" });
        let (mut bits, mut held) = (0u32, 0u32);
        for &byte in random {
            bits = bits << 8 | u32::from(byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                text.push(DIGITS[(bits >> held & 31) as usize] as char);
            }
            bits &= (1 << held) - 1;
        }
        Self(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn hint(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "…{}", self.hint())
    }
}

pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    /// Whether it sees test data; otherwise live data.
    pub test: bool,
    pub scopes: Vec<Scope>,
    /// The last characters of the key.
    pub hint: String,
    pub created_at: Timestamp,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

const KEYS: &str = "SELECT id, space, name, scopes, hint, created_at, last_used_at, revoked_at FROM api_keys";

fn read_key(row: &Row<'_>) -> store::Result<ApiKey> {
    Ok(ApiKey {
        id: ApiKeyId::from_uuid(row.get(0)?),
        test: Space::new(row.get(1)?).is_test(),
        name: row.get(2)?,
        scopes: row.text(3)?.split(' ').filter_map(Scope::parse).collect(),
        hint: row.get(4)?,
        created_at: Timestamp::from_ms(row.get(5)?),
        last_used_at: row.get::<Option<i64>>(6)?.map(Timestamp::from_ms),
        revoked_at: row.get::<Option<i64>>(7)?.map(Timestamp::from_ms),
    })
}

pub async fn list_keys(tx: &mut Tx<'_>, space: Space, page: &Page) -> Result<Listing<ApiKey>> {
    Query::new(KEYS, space).page(tx, page, "created_at", read_key, |key| (key.created_at.ms(), key.id.uuid())).await
}

pub async fn key(tx: &mut Tx<'_>, space: Space, id: ApiKeyId) -> Result<ApiKey> {
    let sql = format!("{KEYS} WHERE space = $1 AND id = $2");
    tx.fetch_one(&sql, &[space.into(), id.uuid().into()], read_key).await?.ok_or(Error::NotFound { what: "API key" })
}

/// Who a key belongs to; revoked keys belong to nobody.
pub(super) async fn access(tx: &mut Tx<'_>, key_hash: &[u8; 32]) -> Result<Option<Access>> {
    let sql = "SELECT k.id, k.name, k.workspace_id, w.name, k.space, k.scopes FROM api_keys k JOIN workspaces w ON w.id = k.workspace_id WHERE k.hash = $1 AND k.revoked_at IS NULL";
    let read = |row: &Row<'_>| {
        Ok(Access {
            key_id: ApiKeyId::from_uuid(row.get(0)?),
            key_name: row.get(1)?,
            workspace_id: WorkspaceId::from_uuid(row.get(2)?),
            workspace_name: row.get(3)?,
            space: Space::new(row.get(4)?),
            scopes: row.text(5)?.split(' ').filter_map(Scope::parse).collect(),
        })
    };
    Ok(tx.fetch_one(sql, &[store::Arg::Bytes(key_hash)], read).await?)
}

#[derive(Debug, Clone)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: String,
    pub live: Space,
    pub test: Space,
    pub clock_ahead_ms: i64,
}

fn read_workspace(row: &Row<'_>) -> store::Result<Workspace> {
    Ok(Workspace {
        id: WorkspaceId::from_uuid(row.get(0)?),
        name: row.get(1)?,
        live: Space::new(row.get(2)?),
        test: Space::new(row.get(3)?),
        clock_ahead_ms: row.get(4)?,
    })
}

/// All workspaces of the installation, oldest first.
pub async fn all(tx: &mut Tx<'_>) -> Result<Vec<Workspace>> {
    Ok(tx.fetch("SELECT id, name, live_space, test_space, test_clock_ahead_ms FROM workspaces ORDER BY live_space LIMIT 100000", &[], read_workspace).await?)
}

pub async fn of_space(tx: &mut Tx<'_>, space: Space) -> Result<Workspace> {
    let sql = "SELECT id, name, live_space, test_space, test_clock_ahead_ms FROM workspaces WHERE live_space = $1 OR test_space = $1";
    tx.fetch_one(sql, &[space.into()], read_workspace).await?.ok_or(Error::NotFound { what: "workspace" })
}

/// Makes a workspace with its two sides, under a name that no other has: people choose one by it. The context's space is
/// not used.
#[derive(Debug, Clone)]
pub struct CreateWorkspace {
    pub name: Line,
}

impl Act for CreateWorkspace {
    type Output = Workspace;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Workspace> {
        let id: WorkspaceId = work.mint.id();
        let taken = work.tx.fetch_one("SELECT 1 FROM workspaces WHERE name = $1", &[self.name.as_str().into()], |row| row.get::<i64>(0)).await?;
        if taken.is_some() {
            return Err(Error::Conflict { reason: None, detail: format!("There is a workspace {} already; choose another name.", self.name) });
        }
        let last = work.tx.fetch_one("SELECT coalesce(max(live_space), 0) FROM workspaces", &[], |row| row.get::<i64>(0)).await?.unwrap_or_default();
        let workspace = Workspace { id, name: self.name.to_string(), live: Space::new(last + 2), test: Space::new(last + 3), clock_ahead_ms: 0 };
        work.tx
            .execute(
                "INSERT INTO workspaces (id, name, live_space, test_space, created_at) VALUES ($1, $2, $3, $4, $5)",
                &[id.uuid().into(), workspace.name.as_str().into(), workspace.live.into(), workspace.test.into(), work.context.now.ms().into()],
            )
            .await?;
        Ok(workspace)
    }
}

/// Makes a key for a side. The secret is made by the caller, who shows it once.
#[derive(Debug, Clone)]
pub struct CreateKey {
    pub name: Line,
    pub scopes: Vec<Scope>,
    pub space: Space,
    pub secret: Secret,
}

impl Act for CreateKey {
    type Output = ApiKey;
    const SECRECY: Secrecy = Secrecy::Hashed;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<ApiKey> {
        if self.scopes.is_empty() {
            return Err(Error::Invalid { field: "/scopes".into(), expected: "at least one scope".into() });
        }
        let workspace = of_space(work.tx, self.space).await?;
        let id: ApiKeyId = work.mint.id();
        let mut scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        scopes.dedup();
        work.tx
            .execute(
                "INSERT INTO api_keys (id, space, workspace_id, name, hash, hint, scopes, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                &[
                    id.uuid().into(),
                    self.space.into(),
                    workspace.id.uuid().into(),
                    self.name.as_str().into(),
                    store::Arg::Bytes(&hash(self.secret.reveal())),
                    self.secret.hint().into(),
                    scopes.join(" ").as_str().into(),
                    work.context.now.ms().into(),
                ],
            )
            .await?;
        note(work, "api_key.create", &json!({"id": id, "name": self.name, "scopes": self.scopes, "test": self.space.is_test()})).await?;
        key(work.tx, self.space, id).await
    }
}

/// Revokes a key for ever.
#[derive(Debug, Clone)]
pub struct RevokeKey {
    pub id: ApiKeyId,
}

/// A key that was revoked, and what it leaves behind.
#[derive(Debug, Serialize, ToSchema)]
pub struct RevokedKey {
    #[serde(flatten)]
    pub key: ApiKey,
    /// Endpoints that it made. They go on sending: delete those that nobody needs. At most 250.
    pub endpoints: Vec<EndpointId>,
}

impl Act for RevokeKey {
    type Output = RevokedKey;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<RevokedKey> {
        let space = work.context.space;
        let mut key = key(work.tx, space, self.id).await?;
        if key.revoked_at.is_none() {
            work.tx
                .execute(
                    "UPDATE api_keys SET revoked_at = $3 WHERE space = $1 AND id = $2",
                    &[space.into(), self.id.uuid().into(), work.context.now.ms().into()],
                )
                .await?;
            note(work, "api_key.revoke", &json!({"id": self.id})).await?;
            key.revoked_at = Some(work.now());
        }
        let filter = EndpointFilter { created_by: Some(self.id.to_string()), ..EndpointFilter::default() };
        let made = endpoint::list(work.tx, space, &filter, &Page { limit: LIMIT_MAX, ..Page::default() }).await?;
        Ok(RevokedKey { key, endpoints: made.data.iter().map(|endpoint| endpoint.id).collect() })
    }
}

/// Changes a key's name or scopes.
#[derive(Debug, Clone)]
pub struct UpdateKey {
    pub id: ApiKeyId,
    pub name: Option<Line>,
    pub scopes: Option<Vec<Scope>>,
}

impl Act for UpdateKey {
    type Output = ApiKey;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<ApiKey> {
        let space = work.context.space;
        key(work.tx, space, self.id).await?;
        let scopes = self.scopes.as_ref().map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
        if scopes.as_ref().is_some_and(String::is_empty) {
            return Err(Error::Invalid { field: "/scopes".into(), expected: "at least one scope".into() });
        }
        work.tx
            .execute(
                "UPDATE api_keys SET name = coalesce($3, name), scopes = coalesce($4, scopes) WHERE space = $1 AND id = $2",
                &[space.into(), self.id.uuid().into(), self.name.as_ref().map(Line::as_str).into(), scopes.as_deref().into()],
            )
            .await?;
        note(work, "api_key.update", &json!({"id": self.id, "name": self.name, "scopes": self.scopes})).await?;
        key(work.tx, space, self.id).await
    }
}

/// Remembers when keys were last used.
pub(super) struct Touch(pub Vec<(Uuid, Timestamp)>);

impl store::Command for Touch {
    type Output = ();
    type Error = Error;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        for (id, at) in &self.0 {
            tx.push("UPDATE api_keys SET last_used_at = $2 WHERE id = $1", &[(*id).into(), at.ms().into()]).await?;
        }
        Ok(())
    }
}

/// Moves the clock of a test side forward: holds and campaigns that end by then end ([`super::Engine::tick`]).
#[derive(Debug, Clone)]
pub struct MoveClock {
    pub to: ClockMove,
}

#[derive(Debug, Clone, Copy)]
pub enum ClockMove {
    By(i64),
    To(Timestamp),
}

/// A hundred years: more is a mistake.
const CLOCK_AHEAD_MAX_MS: i64 = 100 * 365 * goodword_core::time::DAY_MS;

impl Act for MoveClock {
    /// How far ahead of the real clock the side now is, in milliseconds.
    type Output = i64;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<i64> {
        let space = work.context.space;
        if !space.is_test() {
            return Err(Error::Conflict { reason: None, detail: "Only the clock of the test side can be moved; use a test key.".into() });
        }
        let workspace = of_space(work.tx, space).await?;
        let by_ms = match self.to {
            ClockMove::By(ms) => ms,
            ClockMove::To(at) => at.ms() - work.context.now.ms(),
        };
        if by_ms < 0 {
            return Err(Error::Invalid { field: "/now".into(), expected: format!("a time after {}; the clock only moves forward", work.context.now) });
        }
        let ahead = workspace.clock_ahead_ms.saturating_add(by_ms);
        if ahead > CLOCK_AHEAD_MAX_MS {
            return Err(Error::Invalid { field: "/now".into(), expected: "a time within a hundred years".into() });
        }
        work.tx.execute("UPDATE workspaces SET test_clock_ahead_ms = $2 WHERE id = $1", &[workspace.id.uuid().into(), ahead.into()]).await?;
        note(work, "test_clock.move", &json!({"by_ms": by_ms})).await?;
        Ok(ahead)
    }
}

/// The signal of something that concerns no campaign.
async fn note(work: &mut Work<'_, '_>, kind: &'static str, payload: &serde_json::Value) -> Result<()> {
    let signal = work.signal(kind, None, None, payload);
    work.record(&signal, &Decision::applied(Vec::new()), None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_hide_themselves() {
        let secret = Secret::new(true, &[0xff; 25]);
        assert_eq!(secret.reveal().len(), "gw_test_".len() + 40);
        assert_eq!(format!("{secret:?}"), format!("…{}", &secret.reveal()[44..]));
        assert_ne!(Secret::new(false, &[1; 25]).reveal(), Secret::new(false, &[2; 25]).reveal());
    }
}
