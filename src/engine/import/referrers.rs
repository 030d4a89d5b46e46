//! Referrers in bulk: many rows in one transaction, with one signal and one event.

use super::columns::NewReferrer;
use crate::engine::{
    Error, Result,
    campaign::{self, Campaign},
    event::EventType,
    participant::{self, evidence},
    view,
    work::{Act, Work},
};
use goodword_core::{
    campaign::{CampaignStatus, Duplicates, Field},
    decide::Decision,
    explain::Reason,
    ids::{CampaignId, Lead},
    text::Code,
};
use goodword_store::{Arg, Type};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Adds people to a campaign as referrers. Who is there already stays as they are.
///
/// The signal's key is made from the import and its rows: the same rows told again by the same import
/// are the same signal. It keeps numbers and lines, not the people: those are in their own rows, where
/// they can be erased.
pub struct AddReferrers {
    pub campaign: CampaignId,
    /// What the rows were checked by; a campaign that says otherwise by now refuses them.
    pub duplicates: Duplicates,
    pub fields: Arc<[Field]>,
    pub import: Uuid,
    pub rows: Vec<NewReferrer>,
    /// One event for each referrer, instead of one for all of them.
    pub each: bool,
}

/// What became of the rows.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    pub added: u64,
    pub already_there: u64,
    /// Lines, and why.
    pub refused: Vec<(u64, String)>,
    /// How long the transaction was worked on.
    #[serde(skip)]
    pub took: Duration,
}

const CODES: &[(&str, Type)] = &[("code_key", Type::Text), ("code", Type::Text), ("space", Type::Int), ("campaign_id", Type::Id), ("participant_id", Type::Id)];

const PARTICIPANTS: &[(&str, Type)] = &[
    ("space", Type::Int),
    ("id", Type::Id),
    ("campaign_id", Type::Id),
    ("identity", Type::Text),
    ("email", Type::Text),
    ("mailbox", Type::Text),
    ("first_name", Type::Text),
    ("last_name", Type::Text),
    ("external_id", Type::Text),
    ("fields", Type::Text),
    ("source", Type::Text),
    ("code", Type::Text),
    ("referrer_since", Type::Int),
    ("suspended_at", Type::Int),
    ("created_at", Type::Int),
    ("updated_at", Type::Int),
];

/// Identities that are looked up with one statement.
const LOOKED_UP: usize = 100;

impl AddReferrers {
    fn key(&self) -> String {
        let mut hash = Sha256::new();
        for row in &self.rows {
            hash.update(row.identity.as_bytes());
            hash.update(row.line.to_le_bytes());
        }
        let digest: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        format!("import:{}:{digest}", self.import.simple())
    }

    /// Those of the identities that are in the campaign: their ids, and whether they are referrers.
    async fn existing(&self, work: &mut Work<'_, '_>, identities: &[&str]) -> Result<HashMap<String, (Uuid, bool)>> {
        let places = (3..3 + LOOKED_UP).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT identity, id, referrer_since IS NOT NULL FROM participants WHERE space = $1 AND campaign_id = $2 AND identity IN ({places})");
        let mut found = HashMap::new();
        for some in identities.chunks(LOOKED_UP) {
            let mut args: Vec<Arg<'_>> = vec![work.context.space.into(), self.campaign.uuid().into()];
            args.extend((0..LOOKED_UP).map(|i| Arg::from(some[i.min(some.len() - 1)])));
            let rows = work.tx.fetch(&sql, &args, |row| Ok((row.get::<String>(0)?, (row.get::<Uuid>(1)?, row.get::<bool>(2)?)))).await?;
            found.extend(rows);
        }
        Ok(found)
    }

    async fn insert_codes(&self, work: &mut Work<'_, '_>, codes: &[(&Code, Uuid)]) -> Result<HashSet<Uuid>> {
        let keys: Vec<String> = codes.iter().map(|(code, _)| code.key()).collect();
        let space = work.context.space;
        let rows: Vec<Vec<Arg<'_>>> = codes
            .iter()
            .zip(&keys)
            .map(|((code, id), key)| vec![key.as_str().into(), code.as_str().into(), space.into(), self.campaign.uuid().into(), (*id).into()])
            .collect();
        Ok(work.tx.insert_new("codes", CODES, 4, &rows).await?.into_iter().collect())
    }

    async fn insert_people(&self, work: &mut Work<'_, '_>, rows: &[(&NewReferrer, Uuid)]) -> Result<HashSet<Uuid>> {
        let (space, source, now) = (work.context.space, work.context.source.clone(), work.context.now);
        let rows: Vec<Vec<Arg<'_>>> = rows
            .iter()
            .map(|(row, id)| {
                let since = row.since.unwrap_or(now).ms();
                vec![
                    space.into(),
                    (*id).into(),
                    self.campaign.uuid().into(),
                    row.identity.as_str().into(),
                    row.person.email.as_str().into(),
                    row.mailbox.as_str().into(),
                    row.person.first_name.as_str().into(),
                    row.person.last_name.as_str().into(),
                    row.person.external_id.as_deref().into(),
                    row.fields.as_str().into(),
                    (&*source).into(),
                    row.code.as_str().into(),
                    since.into(),
                    row.suspended_at.map(|at| at.ms()).into(),
                    since.into(),
                    now.ms().into(),
                ]
            })
            .collect();
        Ok(work.tx.insert_new("participants", PARTICIPANTS, 1, &rows).await?.into_iter().collect())
    }

    /// A code that was drawn belongs to somebody, once in a million rows or so: another is drawn.
    async fn redraw(&self, work: &mut Work<'_, '_>, id: Uuid) -> Result<()> {
        loop {
            let code = Code::from_random(work.mint.random());
            if !self.insert_codes(work, &[(&code, id)]).await?.is_empty() {
                let args = [work.context.space.into(), id.into(), code.as_str().into()];
                work.tx.execute("UPDATE participants SET code = $3 WHERE space = $1 AND id = $2", &args).await?;
                return Ok(());
            }
        }
    }

    async fn tell_each(&self, work: &mut Work<'_, '_>, campaign: &Campaign, people: &[Uuid], evidence: &view::Evidence) -> Result<()> {
        for id in people {
            let person = participant::find(work.tx, work.context.space, *id).await?.ok_or(Error::NotFound { what: "participant" })?;
            let data = view::EventData {
                campaign: Some(campaign.reference()),
                referrer: Some(person.referrer_view(campaign, work.shared)),
                evidence: Some(evidence.clone()),
                ..Default::default()
            };
            work.emit(EventType::ReferrerCreated, &person.referrer(), Some(*id), &data)?;
        }
        Ok(())
    }
}

impl Act for AddReferrers {
    type Output = Added;
    // Thousands of rows.
    const MAY_SHARE: bool = false;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Added> {
        let begun = Instant::now();
        let key = self.key();
        if let Some(record) = work.seen(&key).await? {
            let told: Added = serde_json::from_str(&record.payload).map_err(|error| goodword_store::Error::Database(error.to_string()))?;
            return Ok(Added { took: begun.elapsed(), ..told });
        }
        let space = work.context.space;
        let campaign = campaign::get(work.tx, work.shared, space, self.campaign).await?;
        if campaign.status == CampaignStatus::Ended {
            return Err(Error::conflict(Reason::CampaignLive, "The campaign has ended; nobody can join it any more."));
        }
        if campaign.settings().duplicates != self.duplicates || *campaign.settings().referrer_fields != *self.fields {
            let detail = "The campaign's fields or its duplicate policy were changed while the import ran. Run it again; who is there already stays.";
            return Err(Error::Conflict { reason: None, detail: detail.into() });
        }

        let mut ids: Vec<Uuid> = self.rows.iter().map(|_| work.mint.id::<Lead>().uuid()).collect();
        ids.sort_unstable(); // An index grows best at its end.
        let rows: Vec<(&NewReferrer, Uuid)> = self.rows.iter().zip(ids).collect();

        // Codes that were asked for come first: who does not get theirs is not added.
        let chosen: Vec<(&Code, Uuid)> = rows.iter().filter(|(row, _)| row.chosen).map(|(row, id)| (&row.code, *id)).collect();
        let got = if chosen.is_empty() { HashSet::new() } else { self.insert_codes(work, &chosen).await? };
        let (may, left): (Vec<_>, Vec<_>) = rows.iter().copied().partition(|(row, id)| !row.chosen || got.contains(id));
        let mut added = self.insert_people(work, &may).await?;

        // Codes that were drawn go to those who were added, in the order of their index.
        let mut drawn: Vec<(&Code, Uuid)> = may.iter().filter(|(row, id)| !row.chosen && added.contains(id)).map(|(row, id)| (&row.code, *id)).collect();
        drawn.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        let taken = self.insert_codes(work, &drawn).await?;
        for (_, id) in drawn.iter().filter(|(_, id)| !taken.contains(id)) {
            self.redraw(work, *id).await?;
        }

        // The others are there already, or stand against somebody else's code or id.
        let mut result = Added::default();
        let others: Vec<_> = may.iter().copied().filter(|(_, id)| !added.contains(id)).chain(left).collect();
        let identities: Vec<&str> = others.iter().map(|(row, _)| row.identity.as_str()).collect();
        let existing = if identities.is_empty() { HashMap::new() } else { self.existing(work, &identities).await? };
        for (row, id) in others {
            if got.contains(&id) {
                // Nobody has seen it: it was claimed above, in this transaction.
                work.tx.push("DELETE FROM codes WHERE code_key = $1 AND participant_id = $2", &[row.code.key().as_str().into(), id.into()]).await?;
            }
            match existing.get(&row.identity) {
                // A lead who passes the word on: the same person, the same code.
                Some((lead, false)) if !added.contains(lead) => {
                    let since = row.since.unwrap_or(work.context.now).ms();
                    let args = [space.into(), (*lead).into(), since.into(), work.context.now.ms().into()];
                    work.tx.execute("UPDATE participants SET referrer_since = $3, updated_at = $4 WHERE space = $1 AND id = $2", &args).await?;
                    added.insert(*lead);
                }
                Some(_) => result.already_there += 1,
                None if row.chosen && !got.contains(&id) => {
                    result.refused.push((row.line, format!("code: {} is taken; codes are never given twice", row.code)));
                }
                None => {
                    let external_id = row.person.external_id.as_deref().unwrap_or_default();
                    result.refused.push((row.line, format!("external_id: somebody else in the campaign has {external_id}")));
                }
            }
        }
        result.added = added.len() as u64;

        let mut signal = work.signal("referrers.import", Some(campaign.id), None, &result);
        signal.key = key;
        let decision = if added.is_empty() { Decision::unchanged(Reason::AlreadyDone) } else { Decision::applied(Vec::new()) };
        let evidence = evidence(signal.id, &decision);
        if self.each {
            let mut people: Vec<Uuid> = added.into_iter().collect();
            people.sort_unstable();
            self.tell_each(work, &campaign, &people, &evidence).await?;
        } else if !added.is_empty() {
            let data =
                view::EventData { campaign: Some(campaign.reference()), count: Some(result.added as i64), evidence: Some(evidence), ..Default::default() };
            work.emit(EventType::ReferrersImported, &campaign.id, None, &data)?;
        }
        work.record(&signal, &decision, Some(campaign.version)).await?;
        result.took = begun.elapsed();
        Ok(result)
    }
}
