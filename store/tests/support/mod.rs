//! A small product to test the store with.
#![allow(dead_code)] // Each test file uses a part.
use goodword_store::{Arg, Command, Error, Migration, Options, Result, Store, Tx, Type};
use uuid::Uuid;

pub const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "leads",
        sql: "
        -- It's a comment with an apostrophe, $1 and {no}.
        CREATE TABLE campaigns (
            id uuid NOT NULL PRIMARY KEY,
            counter bigint NOT NULL DEFAULT 0
        );
        CREATE TABLE leads (
            no {no},
            space bigint NOT NULL,
            id uuid NOT NULL,
            campaign_id uuid REFERENCES campaigns (id),
            email text NOT NULL,
            fields text NOT NULL DEFAULT '{}',
            active boolean NOT NULL DEFAULT TRUE,
            score double precision,
            hash bytea,
            {pk} (space, id)
        );
        CREATE UNIQUE INDEX leads_email ON leads (space, lower(email));
        CREATE TABLE codes (
            code_key text PRIMARY KEY,
            owner uuid NOT NULL,
            CONSTRAINT codes_owner UNIQUE (owner)
        ) {clustered};
    ",
    },
    Migration {
        number: 2,
        name: "events",
        sql: "
        CREATE TABLE events (
            seq {seq},
            txid {txid},
            id uuid NOT NULL {pk},
            body text NOT NULL
        );
        CREATE INDEX events_feed ON events (txid, seq);
    ",
    },
];

pub async fn open(url: &str) -> Store {
    Store::open(Options::new(url, MIGRATIONS)).await.unwrap()
}

/// Runs `test` with a store on each engine.
pub async fn on_both(test: impl AsyncFn(Store)) {
    goodword_testkit::on_both(async |url| {
        let store = open(&url).await;
        test(store.clone()).await;
        store.close().await.unwrap();
    })
    .await;
}

/// Runs `sql` once.
pub struct Execute(pub &'static str);

impl Command for Execute {
    type Output = u64;
    type Error = Error;
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64> {
        tx.execute(self.0, &[]).await
    }
}

#[derive(Debug)]
pub enum Refusal {
    Store(Error),
    Because(&'static str),
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Refusal::Store(e)
    }
}

/// Claims a code for an owner, or tells who has it.
pub struct Claim {
    pub code: &'static str,
    pub owner: Uuid,
}

impl Command for Claim {
    type Output = Uuid;
    type Error = Error;
    const MAY_SHARE: bool = true;
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Uuid> {
        let owner = tx.fetch_one("SELECT owner FROM codes WHERE code_key = $1", &[self.code.into()], |row| row.get(0)).await?;
        if let Some(owner) = owner {
            return Ok(owner);
        }
        tx.execute("INSERT INTO codes (code_key, owner) VALUES ($1, $2)", &[self.code.into(), self.owner.into()]).await?;
        Ok(self.owner)
    }
}

/// What a lead does after it was written.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    Succeed,
    Refuse,
    Panic,
}

/// Writes a lead and an event.
pub struct CreateLead {
    pub id: Uuid,
    pub email: String,
    pub then: Then,
}

impl CreateLead {
    pub fn new(email: impl Into<String>, then: Then) -> Self {
        CreateLead { id: Uuid::now_v7(), email: email.into(), then }
    }
}

impl Command for CreateLead {
    type Output = Uuid;
    type Error = Refusal;
    const MAY_SHARE: bool = true;
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Uuid, Refusal> {
        tx.push("INSERT INTO events (id, body) VALUES ($1, $2)", &[self.id.into(), (&self.email).into()]).await?;
        tx.execute("INSERT INTO leads (space, id, email) VALUES (1, $1, $2)", &[self.id.into(), (&self.email).into()]).await?;
        match self.then {
            Then::Succeed => Ok(self.id),
            Then::Refuse => Err(Refusal::Because("told so")),
            Then::Panic => panic!("a panic that a test wants"),
        }
    }
}

/// How many rows a query of one number counts.
pub async fn count(store: &Store, sql: &'static str) -> i64 {
    store.read(move |tx| Box::pin(async move { tx.fetch_one(sql, &[], |row| row.get::<i64>(0)).await })).await.unwrap().unwrap()
}

pub const LEAD_COLUMNS: &[(&str, Type)] =
    &[("space", Type::Int), ("id", Type::Id), ("email", Type::Text), ("active", Type::Bool), ("score", Type::Real), ("hash", Type::Bytes)];

/// Inserts leads, skipping those whose address is known.
pub struct Import(pub Vec<(Uuid, String)>);

impl Command for Import {
    type Output = Vec<Uuid>;
    type Error = Error;
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Uuid>> {
        let rows: Vec<Vec<Arg<'_>>> =
            self.0.iter().map(|(id, email)| vec![1i64.into(), (*id).into(), email.into(), true.into(), Some(0.5).into(), Arg::Null]).collect();
        tx.insert_new("leads", LEAD_COLUMNS, 1, &rows).await
    }
}
