//! A campaign with many people in it, grown from one referrer and one lead that the
//! product itself has made: the rows are the real ones, only ids and addresses differ.

use crate::server::{Home, Server};
use goodword_core::{
    ids::{CampaignId, LeadId, ReferrerId},
    text::Code,
};
use goodword_store::{Store, TableInfo, Value};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

/// Rows in one transaction while a world is made.
const CHUNK: u64 = 10_000;
/// 31^8: as many codes as there are.
const CODES: u64 = 852_891_037_441;

#[derive(Debug, Clone)]
pub struct World {
    pub key: String,
    pub campaign: String,
    pub referrers: u64,
    pub leads: u64,
}

/// What a number of the bench is called by the product.
pub fn referrer_id(i: u64) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(i))
}

pub fn lead_id(i: u64) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8001_0000_0000_0000 | u128::from(i))
}

pub fn code(i: u64) -> Code {
    Code::from_random((i * 611_953_511_111) % CODES)
}

/// Numbers below `size`, each once, in no order that an index would like.
pub fn scattered(i: u64, size: u64) -> u64 {
    (i * 2_654_435_761) % size
}

impl World {
    /// A live campaign whose links lead straight on and which gives the referrer ten euros
    /// for each qualified lead; with so many referrers, and so many pending leads.
    pub fn make(home: &Home, referrers: u64, leads: u64) -> (Self, Server) {
        let server = Server::start(home, None);
        let key = server.key.clone().expect("the first start prints a key");
        let campaign = server.json(
            "POST",
            "/v1/campaigns",
            &key,
            Some(&json!({
                "name": "Friends of the shop", "status": "live", "currency": "EUR",
                "link": {"mode": "direct", "destination": "https://shop.example.com/welcome"},
                "rewards": [{"name": "Ten euros for you", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "10.00", "currency": "EUR"}}}],
            })),
        );
        let campaign = campaign["id"].as_str().expect("an id").to_owned();
        let person = |name: &str| json!({"campaign_id": campaign, "email": format!("{name}@example.com"), "first_name": "Priya", "last_name": "Shah"});
        let referrer = server.json("POST", "/v1/referrers", &key, Some(&person("priya")));
        let mut lead = person("maya");
        lead["code"] = referrer["code"].clone();
        server.json("POST", "/v1/leads", &key, Some(&lead));
        server.stop();

        let world = Self { key, campaign, referrers, leads };
        crate::server::block_on(async {
            let store = home.store().await;
            world.people(&store).await;
            store.close().await.expect("close");
        });
        home.settle();
        (world, Server::start(home, None))
    }

    async fn people(&self, store: &Store) {
        let participants = Grown::new(store, "participants").await;
        let codes = Grown::new(store, "codes").await;
        let referrer = participants.row(|row| row["referrer_since"] != Value::Null);
        let lead = participants.row(|row| row["referrer_since"] == Value::Null);
        let code_row = codes.row(|row| row["participant_id"] != Value::Null);
        let first = 1_000;
        for (count, kind, template) in [(self.referrers, "r", &referrer), (self.leads, "l", &lead)] {
            let mut from = 0;
            while from < count {
                let numbers = from..(from + CHUNK).min(count);
                let people = numbers.clone().map(|i| {
                    let is_lead = kind == "l";
                    let (id, email) = (if is_lead { lead_id(i) } else { referrer_id(i) }, format!("{kind}{i}@example.com"));
                    let number = first + i + if is_lead { self.referrers } else { 0 };
                    let mut row = template.clone();
                    row.insert("no", Value::Int(number as i64));
                    row.insert("id", Value::Id(id));
                    for name in ["identity", "email", "mailbox"] {
                        row.insert(name, Value::Text(email.clone()));
                    }
                    row.insert("code", Value::Text(self.code(is_lead, i).as_str().into()));
                    if is_lead {
                        row.insert("referrer_id", Value::Id(referrer_id(self.referrer_of(i))));
                    } else {
                        row.insert("leads", Value::Int((self.leads / self.referrers) as i64));
                    }
                    participants.values(row)
                });
                store.load(&participants.table, people.collect()).await.expect("people");
                let rows = numbers.map(|i| {
                    let is_lead = kind == "l";
                    let mut row = code_row.clone();
                    let code = self.code(is_lead, i);
                    row.insert("code_key", Value::Text(code.key()));
                    row.insert("code", Value::Text(code.as_str().into()));
                    row.insert("participant_id", Value::Id(if is_lead { lead_id(i) } else { referrer_id(i) }));
                    codes.values(row)
                });
                store.load(&codes.table, rows.collect()).await.expect("codes");
                from += CHUNK;
            }
        }
        store.reset_identities().await.expect("numbers go on");
    }

    pub fn code(&self, is_lead: bool, i: u64) -> Code {
        code(1 + i + if is_lead { self.referrers } else { 0 })
    }

    pub fn referrer_of(&self, lead: u64) -> u64 {
        lead % self.referrers
    }

    pub fn campaign_id(&self) -> Uuid {
        self.campaign.parse::<CampaignId>().expect("an id").uuid()
    }

    /// The request that qualifies a lead, each with a key of its own in the world outside.
    pub fn qualification(&self) -> crate::load::Question {
        let (key, leads) = (self.key.clone(), self.leads);
        std::sync::Arc::new(move |number| {
            let lead = LeadId::from_uuid(lead_id(scattered(number, leads)));
            let body = format!("{{\"lead_id\":\"{lead}\",\"qualified\":true,\"external_id\":\"order-{number:012}\"}}");
            crate::load::request("POST", "/v1/qualifications", Some(&key), Some(&body))
        })
    }

    pub fn referrer_name(i: u64) -> String {
        ReferrerId::from_uuid(referrer_id(i)).to_string()
    }
}

/// A table, and rows that are like those in it.
pub struct Grown {
    pub table: TableInfo,
    rows: Vec<HashMap<&'static str, Value>>,
    names: Vec<&'static str>,
}

impl Grown {
    pub async fn new(store: &Store, name: &str) -> Self {
        let table = store.tables().await.expect("tables").into_iter().find(|table| table.name == name).expect("the table");
        let names: Vec<&'static str> = table.columns.iter().map(|(name, _)| &*name.clone().leak()).collect();
        let found = store.scan(&table, None, 10).await.expect("rows");
        let rows = found.into_iter().map(|row| names.iter().copied().zip(row).collect()).collect();
        Self { table, rows, names }
    }

    pub fn row(&self, wanted: impl Fn(&HashMap<&'static str, Value>) -> bool) -> HashMap<&'static str, Value> {
        self.rows.iter().find(|row| wanted(row)).cloned().expect("such a row")
    }

    pub fn values(&self, mut row: HashMap<&'static str, Value>) -> Vec<Value> {
        self.names.iter().map(|name| row.remove(name).expect("each column")).collect()
    }
}
