//! What can go wrong between a command and the disk.

/// Cloned to every caller whose commands shared a failed commit, hence texts and not sources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A unique key is taken. PostgreSQL names the constraint or index (`leads_email`), SQLite its
    /// columns (`leads.campaign_id,leads.email`; the name for an index over an expression).
    #[error("{table}: {constraint} already exists")]
    Conflict { table: String, constraint: String },
    /// The disk is full or the database is read-only. Nothing was written.
    #[error("nothing was written: {0}")]
    Full(String),
    /// The database cannot be reached or did not answer in time. Try again.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Anything else: a mistake in the code, or a broken database.
    #[error("database: {0}")]
    Database(String),
    /// The command panicked. Nothing of it was written.
    #[error("the command panicked, and nothing of it was written")]
    Panicked,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Is this a unique violation in `table`? The same on both engines.
    pub fn is_conflict_on(&self, table: &str) -> bool {
        matches!(self, Error::Conflict { table: t, .. } if t == table)
    }

    pub(crate) fn closed() -> Self {
        Error::Unavailable("the store is closed".into())
    }
}
