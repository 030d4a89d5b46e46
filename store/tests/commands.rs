//! Commands and reads behave the same on both engines.
mod support;

use goodword_store::{Arg, Command, Engine, Error, Result, Store, Tx, Value};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use support::*;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_command_leaves_no_trace_and_spares_its_batch() {
    on_both(async |store| {
        let each = (0..300).map(|i| {
            let then = [Then::Succeed, Then::Refuse, Then::Succeed, Then::Panic][i % 4];
            let store = store.clone();
            tokio::spawn(async move { (then, store.write(CreateLead::new(format!("{i}@example.com"), then)).await) })
        });
        for task in each.collect::<Vec<_>>() {
            match task.await.unwrap() {
                (Then::Succeed, Ok(_)) | (Then::Refuse, Err(Refusal::Because("told so"))) | (Then::Panic, Err(Refusal::Store(Error::Panicked))) => {}
                (_, other) => panic!("{other:?}"),
            }
        }
        assert_eq!(count(&store, "SELECT count(*) FROM leads").await, 150);
        assert_eq!(count(&store, "SELECT count(*) FROM events").await, 150);
        let stats = store.stats();
        assert_eq!(stats.commands, 300);
        assert_eq!(stats.queue_depth, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_a_race_for_a_key_reads_the_winner() {
    on_both(async |store| {
        for code in ["anna", "bert", "cleo"] {
            let claims: Vec<_> = (0..64)
                .map(|_| {
                    let store = store.clone();
                    tokio::spawn(async move { store.write(Claim { code, owner: Uuid::now_v7() }).await.unwrap() })
                })
                .collect();
            let mut owners = Vec::new();
            for claim in claims {
                owners.push(claim.await.unwrap());
            }
            owners.dedup();
            assert_eq!(owners.len(), 1);
        }
        assert_eq!(count(&store, "SELECT count(*) FROM codes").await, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_first_counts_exactly() {
    struct Increment(Uuid);
    impl Command for Increment {
        type Output = ();
        type Error = Error;
        const MAY_SHARE: bool = true;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            let sql = "SELECT counter FROM campaigns WHERE id = $1 FOR UPDATE";
            let counter: Option<i64> = tx.fetch_one(sql, &[self.0.into()], |row| row.get(0)).await?;
            let next = counter.unwrap_or(0) + 1;
            tx.push("UPDATE campaigns SET counter = $2 WHERE id = $1", &[self.0.into(), next.into()]).await
        }
    }
    on_both(async |store| {
        store.write(Execute("INSERT INTO campaigns (id, counter) SELECT id, 0 FROM campaigns")).await.unwrap();
        let id = Uuid::now_v7();
        store.write(Campaign(id)).await.unwrap();
        let increments: Vec<_> = (0..64)
            .map(|_| {
                tokio::spawn({
                    let store = store.clone();
                    async move { store.write(Increment(id)).await }
                })
            })
            .collect();
        for increment in increments {
            increment.await.unwrap().unwrap();
        }
        assert_eq!(count(&store, "SELECT counter FROM campaigns").await, 64);
    })
    .await;
}

struct Campaign(Uuid);
impl Command for Campaign {
    type Output = ();
    type Error = Error;
    async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
        tx.push("INSERT INTO campaigns (id) VALUES ($1)", &[self.0.into()]).await
    }
}

#[tokio::test]
async fn what_was_pushed_is_seen_by_the_next_statement() {
    struct PushThenFetch;
    impl Command for PushThenFetch {
        type Output = Vec<String>;
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<String>> {
            for (i, body) in ["a", "b", "c"].into_iter().enumerate() {
                tx.push("INSERT INTO events (id, body) VALUES ($1, $2)", &[Uuid::from_u128(i as u128).into(), body.into()]).await?;
            }
            tx.push("UPDATE events SET body = body || '$1' WHERE body = $1", &["b".into()]).await?;
            tx.fetch("SELECT body FROM events ORDER BY id", &[], |row| row.text(0).map(str::to_owned)).await
        }
    }
    on_both(async |store| assert_eq!(store.write(PushThenFetch).await.unwrap(), ["a", "b$1", "c"])).await;
}

#[tokio::test]
async fn what_is_asked_ahead_is_answered_as_if_it_were_asked_then() {
    /// Asks ahead how many events there are, writes one more or does not, and asks.
    struct Ask(bool);
    impl Command for Ask {
        type Output = (i64, i64);
        type Error = Error;
        const MAY_SHARE: bool = true;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(i64, i64)> {
            let (count, of) = ("SELECT count(*) FROM events WHERE body = $1", ["a".into()]);
            let one = async |tx: &mut Tx<'_>, of: &[Arg<'_>]| Ok(tx.fetch_one(count, of, |row| row.get::<i64>(0)).await?.unwrap_or_default());
            tx.push("INSERT INTO events (id, body) VALUES ($1, 'a')", &[Uuid::now_v7().into()]).await?;
            tx.ahead(count, &of).await?;
            // Its answer comes with this one.
            assert_eq!(one(tx, &["b".into()]).await?, 0);
            if self.0 {
                tx.push("INSERT INTO events (id, body) VALUES ($1, 'a')", &[Uuid::now_v7().into()]).await?;
            }
            Ok((one(tx, &of).await?, one(tx, &of).await?))
        }
    }
    /// Asks ahead how many events there are, and writes one before anything is sent.
    struct Overtaken {
        awaited: bool,
    }
    impl Command for Overtaken {
        type Output = i64;
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64> {
            let (count, of) = ("SELECT count(*) FROM events WHERE body = $1", ["a".into()]);
            tx.ahead(count, &of).await?;
            let (insert, id) = ("INSERT INTO events (id, body) VALUES ($1, 'a')", [Uuid::now_v7().into()]);
            if self.awaited {
                tx.execute(insert, &id).await?;
            } else {
                tx.push(insert, &id).await?;
                tx.fetch("SELECT 1", &[], |_| Ok(())).await?;
            }
            Ok(tx.fetch_one(count, &of, |row| row.get(0)).await?.unwrap_or_default())
        }
    }
    on_both(async |store| {
        assert_eq!(store.write(Ask(false)).await.unwrap(), (1, 1));
        assert_eq!(store.write(Ask(true)).await.unwrap(), (3, 3));
        // Nor is it older than a write that goes with it, awaited or not.
        assert_eq!(store.write(Overtaken { awaited: false }).await.unwrap(), 4);
        assert_eq!(store.write(Overtaken { awaited: true }).await.unwrap(), 5);
        // Nor does one command of a group find what another has asked.
        let group = futures_util::future::join_all((0..20).map(|_| store.write(Ask(false)))).await;
        let mut counts: Vec<_> = group.into_iter().map(|outcome| outcome.unwrap().0).collect();
        counts.sort_unstable();
        assert!(counts.iter().all(|count| (6..26).contains(count)), "{counts:?}");
    })
    .await;
}

#[tokio::test]
async fn a_failed_push_fails_the_command() {
    /// Pushes the same row `times`, then perhaps waits for an answer.
    struct Push {
        times: usize,
        fetch: bool,
    }
    impl Command for Push {
        type Output = ();
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            for _ in 0..self.times {
                tx.push("INSERT INTO events (id, body) VALUES ($1, 'x')", &[Uuid::from_u128(7).into()]).await?;
            }
            tx.push("INSERT INTO codes (code_key, owner) VALUES ('x', $1)", &[Uuid::from_u128(7).into()]).await?;
            if self.fetch {
                tx.fetch("SELECT 1", &[], |_| Ok(())).await?;
            }
            Ok(())
        }
    }
    on_both(async |store| {
        for fetch in [false, true] {
            let e = store.write(Push { times: 2, fetch }).await.unwrap_err();
            assert!(e.is_conflict_on("events") && !e.is_conflict_on("codes"), "{e:?}");
            assert_eq!(count(&store, "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM codes)").await, 0);
        }
        // The connection is sound afterwards, and a flight of many statements is no different.
        store.write(Push { times: 1, fetch: false }).await.unwrap();
        let e = store.write(Push { times: 500, fetch: false }).await.unwrap_err();
        assert!(e.is_conflict_on("events"), "{e:?}");
    })
    .await;
}

#[tokio::test]
async fn an_error_that_is_swallowed_fails_the_command_all_the_same() {
    struct Swallow;
    impl Command for Swallow {
        type Output = ();
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            tx.execute("INSERT INTO events (id, body) VALUES ($1, 'x')", &[Uuid::from_u128(1).into()]).await?;
            let _ = tx.execute("INSERT INTO events (id, body) VALUES ($1, 'y')", &[Uuid::from_u128(1).into()]).await;
            let again = tx.execute("INSERT INTO events (id, body) VALUES ($1, 'z')", &[Uuid::from_u128(2).into()]).await;
            assert!(again.is_err());
            Ok(())
        }
    }
    on_both(async |store| {
        assert!(store.write(Swallow).await.unwrap_err().is_conflict_on("events"));
        assert_eq!(count(&store, "SELECT count(*) FROM events").await, 0);
    })
    .await;
}

#[tokio::test]
async fn conflicts_tell_their_table() {
    on_both(async |store| {
        let sqlite = store.engine() == Engine::Sqlite;
        let conflict = async |sqls: [&'static str; 2]| {
            store.write(Execute(sqls[0])).await.unwrap();
            match store.write(Execute(sqls[1])).await {
                Err(Error::Conflict { table, constraint }) => (table, constraint),
                other => panic!("{other:?}"),
            }
        };
        let found = conflict([
            "INSERT INTO codes (code_key, owner) SELECT 'a', '00000000-0000-0000-0000-000000000001'",
            "INSERT INTO codes (code_key, owner) SELECT 'a', '00000000-0000-0000-0000-000000000002'",
        ]);
        let constraint = if sqlite { "codes.code_key" } else { "codes_pkey" };
        assert_eq!(found.await, ("codes".into(), constraint.into()));
        let found = conflict([
            "INSERT INTO leads (space, id, email) SELECT 1, '00000000-0000-0000-0000-000000000001', 'a@x'",
            "INSERT INTO leads (space, id, email) SELECT 1, '00000000-0000-0000-0000-000000000001', 'b@x'",
        ]);
        let constraint = if sqlite { "leads.space,leads.id" } else { "leads_pkey" };
        assert_eq!(found.await, ("leads".into(), constraint.into()));
        // An index over an expression has a name on both.
        let found = conflict([
            "INSERT INTO leads (space, id, email) SELECT 2, '00000000-0000-0000-0000-000000000003', 'c@x'",
            "INSERT INTO leads (space, id, email) SELECT 2, '00000000-0000-0000-0000-000000000004', 'C@X'",
        ]);
        assert_eq!(found.await, ("leads".into(), "leads_email".into()));
    })
    .await;
}

#[tokio::test]
async fn only_new_rows_are_inserted_and_told() {
    on_both(async |store| {
        let ids: Vec<_> = (0..6).map(|_| Uuid::now_v7()).collect();
        let row = |i: usize, email: &str| (ids[i], email.to_owned());
        let first = store.write(Import(vec![row(0, "a@x"), row(1, "b@x"), row(2, "A@x")])).await.unwrap();
        assert_eq!(first, [ids[0], ids[1]]);
        // A known id, a known address, new ones.
        let second = store.write(Import(vec![row(3, "c@x"), row(0, "z@x"), row(4, "B@x"), row(5, "d'\"$1@x")])).await.unwrap();
        assert_eq!(second, [ids[3], ids[5]]);
        assert!(store.write(Import(vec![])).await.unwrap().is_empty());
        let many: Vec<_> = (0..25_000).map(|i| (Uuid::now_v7(), format!("{i}@many"))).collect();
        assert_eq!(store.write(Import(many.clone())).await.unwrap().len(), 25_000);
        assert_eq!(store.write(Import(many)).await.unwrap().len(), 0);
        assert_eq!(count(&store, "SELECT count(*) FROM leads WHERE active AND score = 0.5 AND hash IS NULL").await, 25_004);
    })
    .await;
}

#[tokio::test]
async fn values_come_back_as_they_went_in() {
    struct Put(Vec<Value>);
    impl Command for Put {
        type Output = ();
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            let args: Vec<Arg<'_>> = self.0.iter().map(Arg::from).collect();
            let sql = "INSERT INTO leads (space, id, email, active, score, hash) VALUES ($1, $2, $3, $4, $5, $6)";
            tx.execute(sql, &args).await.map(drop)
        }
    }
    on_both(async |store| {
        let id = Uuid::now_v7();
        let (text, empty) = ("zoë's $1 {no} 'x'\n".to_owned(), String::new());
        let mut values = vec![Value::Int(i64::MIN), Value::Id(id), Value::Text(text.clone())];
        values.extend([Value::Bool(false), Value::Real(-0.1), Value::Bytes(vec![0, 255])]);
        store.write(Put(values)).await.unwrap();
        let mut values = vec![Value::Int(2), Value::Id(Uuid::nil()), Value::Text(empty.clone())];
        values.extend([Value::Bool(true), Value::Null, Value::Null]);
        store.write(Put(values)).await.unwrap();
        type Lead = (i64, Uuid, String, bool, Option<f64>, Option<Vec<u8>>, String);
        let leads: Vec<Lead> = store
            .read(|tx| {
                Box::pin(async move {
                    let sql = "SELECT space, id, email, active, score, hash, fields FROM leads ORDER BY space";
                    tx.fetch(sql, &[], |row| {
                        let (a, b, c) = (row.get(0)?, row.get(1)?, row.get(2)?);
                        let (d, e, f) = (row.get(3)?, row.get(4)?, row.get(5)?);
                        Ok((a, b, c, d, e, f, row.text(6)?.to_owned()))
                    })
                    .await
                })
            })
            .await
            .map_err(|e: Error| e)
            .unwrap();
        let hash = Some(vec![0, 255]);
        assert_eq!(leads[0], (i64::MIN, id, text, false, Some(-0.1), hash, "{}".into()));
        assert_eq!(leads[1], (2, Uuid::nil(), empty, true, None, None, "{}".into()));
        // Lists are one argument, however long.
        let among = async |args: Vec<Value>| {
            let sql = "SELECT email FROM leads WHERE id {in:$1} AND space {in:$2} ORDER BY space";
            let read = store.read(move |tx| Box::pin(async move { tx.fetch(sql, &[(&args[0]).into(), (&args[1]).into()], |row| row.get::<String>(0)).await }));
            read.await.unwrap().len()
        };
        let many: Vec<i64> = (0..1_000).chain([i64::MIN]).collect();
        assert_eq!(among(vec![Value::Ids(vec![id, Uuid::nil(), id]), Value::Ints(many.clone())]).await, 2);
        assert_eq!(among(vec![Value::Ids(vec![id]), Value::Ints(vec![1, 2])]).await, 0);
        assert_eq!(among(vec![Value::Ids(vec![]), Value::Ints(many)]).await, 0);
        // Wrong kinds are errors, not other values, and tell nothing of the content.
        let sql = "SELECT email FROM leads";
        let read = store.read(move |tx| Box::pin(tx.fetch(sql, &[], |row| row.get::<i64>(0))));
        let wrong = read.await.unwrap_err();
        assert!(matches!(&wrong, Error::Database(text) if !text.contains("zo")), "{wrong}");
    })
    .await;
}

#[tokio::test]
async fn a_read_is_one_snapshot_and_cannot_write() {
    on_both(async |store| {
        let writer = store.clone();
        let seen = store
            .read(move |tx| {
                Box::pin(async move {
                    let sql = "SELECT count(*) FROM leads";
                    let before: Option<i64> = tx.fetch_one(sql, &[], |row| row.get(0)).await?;
                    // Only a test may do this. The future must not wait, so another thread does.
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                            runtime.block_on(write_lead(&writer));
                        });
                    });
                    let after: Option<i64> = tx.fetch_one(sql, &[], |row| row.get(0)).await?;
                    Ok::<_, Error>((before, after))
                })
            })
            .await
            .unwrap();
        assert_eq!(seen, (Some(0), Some(0)));
        assert_eq!(count(&store, "SELECT count(*) FROM leads").await, 1);
        let refused = store.read(|tx| Box::pin(async move { tx.execute("DELETE FROM leads", &[]).await })).await;
        assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
        let panicked: Result<()> = store.read(|_| Box::pin(async { panic!("a panic that a test wants") })).await;
        assert_eq!(panicked, Err(Error::Panicked));
        assert_eq!(count(&store, "SELECT count(*) FROM leads").await, 1);
    })
    .await;
}

async fn write_lead(store: &Store) {
    store.write(CreateLead::new("a@example.com", Then::Succeed)).await.unwrap();
}

#[tokio::test]
async fn a_command_that_waits_for_something_else_is_a_panic_on_sqlite() {
    struct Sleep;
    impl Command for Sleep {
        type Output = ();
        type Error = Error;
        async fn apply(&self, _: &mut Tx<'_>) -> Result<()> {
            std::future::pending().await
        }
    }
    let (_guard, url) = goodword_testkit::sqlite_url();
    let store = open(&url).await;
    assert_eq!(store.write(Sleep).await, Err(Error::Panicked));
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so() {
    on_both(async |store| {
        let pending: Vec<_> = (0..100)
            .map(|i| {
                tokio::spawn({
                    let store = store.clone();
                    async move { store.write(CreateLead::new(format!("{i}@x"), Then::Succeed)).await }
                })
            })
            .collect();
        for lead in pending {
            lead.await.unwrap().unwrap();
        }
        store.ping().await.unwrap();
        store.clone().close().await.unwrap();
        assert!(matches!(store.ping().await, Err(Error::Unavailable(_))));
        assert!(matches!(store.read(|tx| Box::pin(async move { tx.execute("SELECT 1", &[]).await })).await, Err(Error::Unavailable(_))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_durable_is_told_though_the_caller_went_away() {
    struct Told(CreateLead, Arc<AtomicU32>);
    impl Command for Told {
        type Output = <CreateLead as Command>::Output;
        type Error = <CreateLead as Command>::Error;
        const MAY_SHARE: bool = true;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Output, Self::Error> {
            self.0.apply(tx).await
        }
        fn committed(&self, _: &mut Self::Output) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    on_both(async |store| {
        let told = Arc::new(AtomicU32::new(0));
        for i in 0..20 {
            let then = if i % 2 == 0 { Then::Succeed } else { Then::Refuse };
            let mut write = Box::pin(store.write(Told(CreateLead::new(format!("{i}@x"), then), told.clone())));
            // Sent, and then nobody waits any more.
            assert!(futures_util::poll!(&mut write).is_pending() || then == Then::Refuse);
        }
        while count(&store, "SELECT count(*) FROM leads").await < 10 || told.load(Ordering::SeqCst) < 10 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        store.ping().await.unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 10, "what was refused is not durable");
    })
    .await;
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_no_open_transaction() {
    /// Waits for ever once it has written: possible on PostgreSQL only.
    struct Hang(tokio::sync::mpsc::UnboundedSender<()>);
    impl Command for Hang {
        type Output = ();
        type Error = Error;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            tx.execute("INSERT INTO events (id, body) VALUES ($1, 'hang')", &[Uuid::nil().into()]).await?;
            let _ = self.0.send(());
            std::future::pending().await
        }
    }
    let Some((_guard, url)) = goodword_testkit::postgres_url() else {
        return;
    };
    let options = goodword_store::Options { pool_size: 1, ..goodword_store::Options::new(url, MIGRATIONS) };
    let store = Store::open(options).await.unwrap();
    let (sender, mut written) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn({
        let store = store.clone();
        async move { store.write(Hang(sender)).await }
    });
    written.recv().await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The only connection was given up. If it were still in its transaction this would see the row, or hang.
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, 0);
    store.write(CreateLead::new("a@x", Then::Succeed)).await.unwrap();
}

#[tokio::test]
async fn a_connection_lost_before_commit_costs_nothing() {
    /// Ends its own connection the first `n` times.
    struct Unlucky<const MAY_SHARE: bool>(AtomicU32, u32);
    impl<const MAY_SHARE: bool> Command for Unlucky<MAY_SHARE> {
        type Output = u32;
        type Error = Error;
        const MAY_SHARE: bool = MAY_SHARE;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<u32> {
            let attempt = self.0.fetch_add(1, Ordering::Relaxed);
            tx.execute("INSERT INTO events (id, body) VALUES ($1, 'x')", &[Uuid::now_v7().into()]).await?;
            if attempt < self.1 {
                tx.fetch("SELECT pg_terminate_backend(pg_backend_pid())", &[], |_| Ok(())).await?;
            }
            Ok(attempt)
        }
    }
    let Some((_guard, url)) = goodword_testkit::postgres_url() else {
        return;
    };
    let store = open(&url).await;
    assert_eq!(store.write(Unlucky::<false>(0.into(), 1)).await.unwrap(), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, 1);
    let given_up = store.write(Unlucky::<false>(0.into(), u32::MAX)).await;
    assert!(matches!(given_up, Err(Error::Unavailable(_))), "{given_up:?}");
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, 1);
    // In a group it costs the others nothing either.
    let group: Vec<_> = (0..20).map(|i| store.write(Unlucky::<true>(0.into(), u32::from(i == 7)))).collect();
    for outcome in futures_util::future::join_all(group).await {
        outcome.unwrap();
    }
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, 21);
}

#[tokio::test]
async fn short_commands_that_wait_share_a_commit() {
    on_both(async |store| {
        let before = store.stats().commits;
        let leads: Vec<_> = (0..100).map(|i| store.write(CreateLead::new(format!("{i}@x"), Then::Succeed))).collect();
        for outcome in futures_util::future::join_all(leads).await {
            outcome.unwrap();
        }
        let stats = store.stats();
        assert!(stats.batch_max > 1 && stats.commits - before < 100, "{stats:?}");
        assert_eq!(count(&store, "SELECT count(*) FROM leads").await, 100);
    })
    .await;
}

#[tokio::test]
async fn a_command_that_is_refused_before_it_wrote_spares_its_group() {
    /// Asks something, perhaps after it has pushed a row, and is refused.
    struct Ask {
        pushes: bool,
    }
    impl Command for Ask {
        type Output = ();
        type Error = Refusal;
        const MAY_SHARE: bool = true;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Refusal> {
            tx.fetch("SELECT 1", &[], |_| Ok(())).await?;
            if self.pushes {
                tx.push("INSERT INTO events (id, body) VALUES ($1, 'refused')", &[Uuid::now_v7().into()]).await?;
            }
            Err(Refusal::Because("told so"))
        }
    }
    let Some((_guard, url)) = goodword_testkit::postgres_url() else {
        return;
    };
    let store = open(&url).await;
    let leads = (0..50).map(|i| store.write(CreateLead::new(format!("{i}@x"), Then::Succeed)));
    let asks = (0..50).map(|i| store.write(Ask { pushes: i % 2 == 0 }));
    let (leads, asks) = tokio::join!(futures_util::future::join_all(leads), futures_util::future::join_all(asks));
    assert!(leads.iter().all(Result::is_ok));
    assert!(asks.iter().all(|ask| matches!(ask, Err(Refusal::Because("told so")))));
    assert_eq!(count(&store, "SELECT count(*) FROM events").await, 50);
    let stats = store.stats();
    assert!(stats.batch_max > 1 && stats.retries == 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlocks_end_well() {
    /// Adds to two rows, in the order given.
    struct Both<const MAY_SHARE: bool>(Uuid, Uuid);
    impl<const MAY_SHARE: bool> Command for Both<MAY_SHARE> {
        type Output = ();
        type Error = Error;
        const MAY_SHARE: bool = MAY_SHARE;
        async fn apply(&self, tx: &mut Tx<'_>) -> Result<()> {
            for id in [self.0, self.1] {
                tx.execute("UPDATE campaigns SET counter = counter + 1 WHERE id = $1", &[id.into()]).await?;
            }
            Ok(())
        }
    }
    on_both(async |store| {
        let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
        store.write(Campaign(a)).await.unwrap();
        store.write(Campaign(b)).await.unwrap();
        if store.engine() == Engine::Postgres {
            // Only so that the test does not wait a second for each; for new connections.
            let sql = "DO $$ BEGIN EXECUTE format(
                'ALTER DATABASE %I SET deadlock_timeout = ''5ms''', current_database()); END $$";
            store.write(Execute(sql)).await.unwrap();
        }
        let tasks: Vec<_> = (0..8)
            .map(|i| {
                let (store, pair) = (store.clone(), if i % 2 == 0 { Both::<false>(a, b) } else { Both(b, a) });
                tokio::spawn(async move { store.write(pair).await })
            })
            .chain((0..24).map(|i| {
                // Groups wait for each other, too.
                let (store, pair) = (store.clone(), if i % 2 == 0 { Both::<true>(a, b) } else { Both(b, a) });
                tokio::spawn(async move { store.write(pair).await })
            }))
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(count(&store, "SELECT CAST(sum(counter) AS bigint) FROM campaigns").await, 2 * 32);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_settled_events_misses_none() {
    on_both(async |store| {
        const WRITERS: i64 = 16;
        const EACH: i64 = 60;
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                let store = store.clone();
                tokio::spawn(async move {
                    for i in 0..EACH {
                        store.write(CreateLead::new(format!("{w}-{i}@example.com"), Then::Succeed)).await.unwrap();
                    }
                })
            })
            .collect();
        let (mut cursor, mut seen) = ((0i64, 0i64), 0);
        loop {
            let unsettled = "SELECT count(*) FROM events WHERE NOT ({settled})";
            let last = writers.iter().all(|writer| writer.is_finished()) && count(&store, unsettled).await == 0;
            let (txid, seq) = cursor;
            let page: Vec<(i64, i64)> = store
                .read(move |tx| {
                    Box::pin(async move {
                        let sql = "SELECT txid, seq FROM events \
                            WHERE (txid, seq) > ($1, $2) AND {settled} ORDER BY txid, seq LIMIT 7";
                        tx.fetch(sql, &[txid.into(), seq.into()], |row| Ok((row.get(0)?, row.get(1)?))).await
                    })
                })
                .await
                .map_err(|e: Error| e)
                .unwrap();
            seen += page.len() as i64;
            cursor = page.last().copied().unwrap_or(cursor);
            if last && page.is_empty() {
                break;
            }
        }
        assert_eq!(seen, WRITERS * EACH);
        for writer in writers {
            writer.await.unwrap();
        }
    })
    .await;
}
