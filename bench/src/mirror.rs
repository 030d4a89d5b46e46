//! What one qualification writes, row by row, as it was found in the database after the
//! product had made one. The limits write the same rows without the product: same
//! tables, same indexes, same sizes.

use crate::world::{World, lead_id, referrer_id, scattered};
use goodword_core::ids::LeadId;
use goodword_store::{Row, Store, Value};
use uuid::Uuid;

/// The tables that a qualification inserts into, in its order, and which rows are the sample's.
const INSERTS: [(&str, &str); 4] =
    [("events", "type = 'lead.qualified' OR type LIKE 'reward.%'"), ("rewards", "TRUE"), ("reward_entries", "TRUE"), ("signals", "kind = 'lead.qualify'")];

/// The two rows that it changes; as in `src/engine/qualify.rs`.
const LEAD: &str = "UPDATE participants SET lead_status = 'qualified', qualified_at = {now}, first_qualified_at = coalesce(first_qualified_at, {now}), qualified_by = 'direct', status_reason = NULL, risk = '', updated_at = {now} WHERE space = {space} AND id = {lead}";
const REFERRER: &str = "UPDATE participants SET qualified_leads = qualified_leads + 1, updated_at = {now} WHERE space = {space} AND id = {referrer}";

/// What it reads before, as the product does: the lead and its referrer, the campaign, and
/// whether the signal was told before.
const READS: [&str; 3] = [
    "SELECT coalesce(number, no), id, campaign_id, email, mailbox, first_name, last_name, external_id, fields, source, code, referrer_since, suspended_at, leads, qualified_leads, lead_status, lead_since, referrer_id, link_used_at, qualified_at, first_qualified_at, qualified_by, status_reason, risk, ip, visitor, unsubscribed_at, created_at, updated_at, was_suspended_from, was_suspended_until FROM participants WHERE space = {space} AND id IN ({lead}, (SELECT referrer_id FROM participants WHERE space = {space} AND id = {lead})) FOR UPDATE",
    "SELECT id, coalesce(number, no), code, status, status_since, version, created_at, updated_at, pauses FROM campaigns WHERE space = {space} AND id = {campaign} AND deleted_at IS NULL",
    "SELECT id, key, kind, source, actor, campaign_id, participant_id, occurred_at, received_at, payload, outcome, reason, version, checks, effects FROM signals WHERE space = {space} AND key = 'qualify:' || :u::text",
];

/// What differs from one qualification to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Same,
    /// An id of its own, rising with time.
    Fresh,
    Lead,
    Referrer,
    /// Text that names the lead: the cause of its reward.
    LeadName,
    /// Text that is unique.
    Key,
}

#[derive(Debug)]
struct Insert {
    table: &'static str,
    columns: Vec<(String, Value, Slot)>,
}

#[derive(Debug)]
pub struct Mirror {
    space: i64,
    now: i64,
    leads: u64,
    referrers: u64,
    inserts: Vec<Insert>,
}

impl Mirror {
    /// Reads the rows of the one qualification that was made: that of lead number `of`.
    pub async fn sample(store: &Store, world: &World, of: u64) -> Self {
        let (lead, referrer) = (lead_id(of), referrer_id(world.referrer_of(of)));
        let tables = store.tables().await.expect("tables");
        let mut inserts = Vec::new();
        let mut space = 0;
        for (name, wanted) in INSERTS {
            let table = tables.iter().find(|table| table.name == name).expect("the table");
            // Numbers and transaction ids are the database's to give.
            let names: Vec<String> = table.columns.iter().map(|(name, _)| name.clone()).filter(|name| !matches!(&**name, "seq" | "no" | "txid")).collect();
            let sql = format!("SELECT {} FROM {name} WHERE {wanted}", names.join(", "));
            let width = names.len();
            let rows: Vec<Vec<Value>> = store
                .read(move |tx| Box::pin(async move { tx.fetch(&sql, &[], |row: &Row<'_>| (0..width).map(|i| row.get(i)).collect()).await }))
                .await
                .map_err(|error: goodword_store::Error| error.to_string())
                .expect("the sample");
            assert!(!rows.is_empty(), "no {name}");
            for row in rows {
                let columns: Vec<_> = names
                    .iter()
                    .zip(row)
                    .map(|(name, value)| {
                        let value = as_id(name, value);
                        let slot = match (&**name, &value) {
                            ("definition_id" | "campaign_id", _) => Slot::Same,
                            (_, Value::Id(id)) if *id == lead => Slot::Lead,
                            (_, Value::Id(id)) if *id == referrer => Slot::Referrer,
                            (_, Value::Id(_)) => Slot::Fresh,
                            ("cause", _) => Slot::LeadName,
                            ("key", _) => Slot::Key,
                            ("space", Value::Int(number)) => {
                                space = *number;
                                Slot::Same
                            }
                            _ => Slot::Same,
                        };
                        (name.clone(), value, slot)
                    })
                    .collect();
                inserts.push(Insert { table: name, columns });
            }
        }
        Self { space, now: crate::machine::now_ms(), leads: world.leads, referrers: world.referrers, inserts }
    }

    /// Rows and bytes that one qualification inserts.
    pub fn size(&self) -> (usize, usize) {
        let bytes = |(_, value, _): &(String, Value, Slot)| match value {
            Value::Text(text) => text.len(),
            Value::Id(_) => 16,
            Value::Null => 1,
            _ => 8,
        };
        (self.inserts.len() + 2, self.inserts.iter().flat_map(|insert| &insert.columns).map(bytes).sum())
    }

    // ------------------------------------------------------------ SQLite

    /// Writes qualification `number` with prepared statements.
    pub fn write(&self, db: &rusqlite::Connection, number: u64) -> rusqlite::Result<()> {
        let n = scattered(number, self.leads);
        let (lead, referrer) = (lead_id(n), referrer_id(n % self.referrers));
        let text = |sql: &str| sql.replace("{now}", "?1").replace("{space}", "?2").replace("{lead}", "?3").replace("{referrer}", "?3");
        thread_local! {
            static TEXTS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        TEXTS.with_borrow_mut(|texts| {
            if texts.is_empty() {
                texts.extend([text(LEAD), text(REFERRER)]);
                texts.extend(self.inserts.iter().map(|insert| {
                    let names: Vec<_> = insert.columns.iter().map(|(name, ..)| name.as_str()).collect();
                    format!("INSERT INTO {} ({}) VALUES ({})", insert.table, names.join(", "), vec!["?"; names.len()].join(", "))
                }));
            }
            db.prepare_cached(&texts[0])?.execute((self.now, self.space, lead.as_bytes()))?;
            db.prepare_cached(&texts[1])?.execute((self.now, self.space, referrer.as_bytes()))?;
            for (insert, sql) in self.inserts.iter().zip(&texts[2..]) {
                let mut statement = db.prepare_cached(sql)?;
                for (i, (_, value, slot)) in insert.columns.iter().enumerate() {
                    let i = i + 1;
                    match (slot, value) {
                        (Slot::Lead, _) => statement.raw_bind_parameter(i, lead.as_bytes())?,
                        (Slot::Referrer, _) => statement.raw_bind_parameter(i, referrer.as_bytes())?,
                        (Slot::Fresh, _) => statement.raw_bind_parameter(i, Uuid::now_v7().as_bytes())?,
                        (Slot::LeadName, _) => statement.raw_bind_parameter(i, LeadId::from_uuid(lead).to_string())?,
                        (Slot::Key, Value::Text(text)) => statement.raw_bind_parameter(i, format!("{}limit{number:012}", &text[..text.len() - 17]))?,
                        (_, Value::Null) => statement.raw_bind_parameter(i, rusqlite::types::Null)?,
                        (_, Value::Bool(value)) => statement.raw_bind_parameter(i, value)?,
                        (_, Value::Int(value)) => statement.raw_bind_parameter(i, value)?,
                        (_, Value::Real(value)) => statement.raw_bind_parameter(i, value)?,
                        (_, Value::Text(value)) => statement.raw_bind_parameter(i, value)?,
                        (_, Value::Bytes(value)) => statement.raw_bind_parameter(i, value)?,
                        (_, Value::Id(value)) => statement.raw_bind_parameter(i, value.as_bytes())?,
                        (_, Value::Ints(_) | Value::Ids(_)) => unreachable!("no column is a list"),
                    }
                }
                statement.raw_execute()?;
            }
            Ok(())
        })
    }

    // ------------------------------------------------------------ PostgreSQL

    /// The statements of the product's transaction, reads included, for pgbench. It takes
    /// the second half of the leads, again and again: it decides nothing.
    pub fn script(&self, world: &World) -> String {
        let id = |kind: Uuid, number: &str| format!("('{}' || lpad(to_hex({number}), 12, '0'))::uuid", &kind.to_string()[..24]);
        let lead = id(lead_id(0), ":n::bigint");
        let referrer = id(referrer_id(0), ":r::bigint");
        let fresh = "(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(md5(:u::text || random()), 1, 19))::uuid";
        let fill = |sql: &str| {
            sql.replace("{now}", &self.now.to_string()).replace("{space}", &self.space.to_string()).replace("{lead}", &lead).replace("{referrer}", &referrer)
        };
        let mut script =
            format!("\\set n random({}, {})\n\\set r :n % {}\n\\set u random(1, 1000000000000)\nBEGIN;\n", self.leads / 2, self.leads - 1, self.referrers);
        for read in READS {
            script += &fill(&read.replace("{campaign}", &format!("'{}'", world.campaign_id())));
            script += ";\n";
        }
        for change in [LEAD, REFERRER] {
            script += &fill(change);
            script += ";\n";
        }
        for (i, insert) in self.inserts.iter().enumerate() {
            let names: Vec<_> = insert.columns.iter().map(|(name, ..)| name.as_str()).collect();
            let values = insert.columns.iter().map(|(_, value, slot)| match (slot, value) {
                (Slot::Lead, _) => lead.clone(),
                (Slot::Referrer, _) => referrer.clone(),
                (Slot::Fresh, _) => fresh.to_owned(),
                (Slot::LeadName, _) | (Slot::Key, _) => format!("'limit:' || {fresh}"),
                (_, Value::Null) => "NULL".to_owned(),
                (_, Value::Bool(value)) => value.to_string(),
                (_, Value::Int(value)) => value.to_string(),
                // A colon would begin a variable of pgbench.
                (_, Value::Text(value)) => format!("'{}'", value.replace('\'', "''").replace(':', ";")),
                (_, Value::Id(value)) => format!("'{value}'"),
                (_, other) => panic!("{other:?} in the sample"),
            });
            let row = values.collect::<Vec<_>>().join(", ");
            // The rows of one table go together, as the product's do.
            if i > 0 && self.inserts[i - 1].table == insert.table {
                script += &format!(", ({row})");
            } else {
                script += &format!("{}INSERT INTO {} ({}) VALUES ({row})", if i > 0 { ";\n" } else { "" }, insert.table, names.join(", "));
            }
        }
        script + ";\nCOMMIT;\n"
    }
}

/// SQLite keeps ids as sixteen bytes.
fn as_id(name: &str, value: Value) -> Value {
    match value {
        Value::Bytes(bytes) if name == "id" || name.ends_with("_id") => Uuid::from_slice(&bytes).map_or(Value::Bytes(bytes), Value::Id),
        other => other,
    }
}
