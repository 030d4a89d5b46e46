//! Numbers: how interfaces that count name things.
//!
//! Participants and campaigns have a number of their own, `no`, which is never given twice. What came from
//! another system goes by the number that it had there (`number`), and own numbers go on above the greatest
//! of those, so that one number never names two things of a side. Reward definitions live in the
//! configuration of their campaign and get their numbers when it is saved.

use super::{
    Result, Space,
    work::{Act, Work},
};
use goodword_core::{
    ids::{CampaignId, RewardDefinitionId},
    reward::RewardDefinition,
};
use goodword_store::{Row, Tx};
use std::collections::HashMap;
use uuid::Uuid;

/// What is named by `coalesce(number, no)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbered {
    Participant,
    Campaign,
}

impl Numbered {
    const fn table(self) -> &'static str {
        match self {
            Numbered::Participant => "participants",
            Numbered::Campaign => "campaigns",
        }
    }
}

/// What has that number on a side.
pub async fn find(tx: &mut Tx<'_>, space: Space, what: Numbered, number: i64) -> Result<Option<Uuid>> {
    let table = what.table();
    let args = [space.into(), number.into()];
    let sql = format!("SELECT id FROM {table} WHERE space = $1 AND number = $2");
    if let Some(id) = tx.fetch_one(&sql, &args, |row| row.get::<Uuid>(0)).await? {
        return Ok(Some(id));
    }
    let sql = format!("SELECT id FROM {table} WHERE space = $1 AND no = $2 AND number IS NULL");
    Ok(tx.fetch_one(&sql, &args, |row| row.get::<Uuid>(0)).await?)
}

/// The number that something had where it came from.
pub async fn kept(tx: &mut Tx<'_>, space: Space, what: Numbered, id: Uuid) -> Result<Option<i64>> {
    let sql = format!("SELECT number FROM {} WHERE space = $1 AND id = $2", what.table());
    Ok(tx.fetch_one(&sql, &[space.into(), id.into()], |row| row.get::<Option<i64>>(0)).await?.flatten())
}

/// The numbers of some things.
pub async fn of(tx: &mut Tx<'_>, space: Space, what: Numbered, ids: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    by_ids(tx, &format!("SELECT id, coalesce(number, no) FROM {} WHERE space = $1 AND id", what.table()), "", space, ids).await
}

/// Asks for a number beside each of many ids. `select` ends with the column of the id.
pub(super) async fn by_ids(tx: &mut Tx<'_>, select: &str, group: &str, space: Space, ids: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    let rows = tx.fetch(&format!("{select} {{in:$2}}{group}"), &[space.into(), ids.into()], |row| Ok((row.get::<Uuid>(0)?, row.get::<i64>(1)?))).await?;
    Ok(rows.into_iter().collect())
}

/// Reward definitions of a side by their ids.
pub async fn definitions(tx: &mut Tx<'_>, space: Space) -> Result<HashMap<RewardDefinitionId, i64>> {
    let read = |row: &Row<'_>| Ok((RewardDefinitionId::from_uuid(row.get(0)?), row.get::<i64>(1)?));
    Ok(tx.fetch("SELECT definition_id, number FROM definition_numbers WHERE space = $1", &[space.into()], read).await?.into_iter().collect())
}

/// The reward definition of that number, with the campaign whose it is or was.
pub async fn definition(tx: &mut Tx<'_>, space: Space, number: i64) -> Result<Option<(RewardDefinitionId, CampaignId)>> {
    let sql = "SELECT definition_id, campaign_id FROM definition_numbers WHERE space = $1 AND number = $2";
    let read = |row: &Row<'_>| Ok((RewardDefinitionId::from_uuid(row.get(0)?), CampaignId::from_uuid(row.get(1)?)));
    Ok(tx.fetch_one(sql, &[space.into(), number.into()], read).await?)
}

/// Gives a number to each definition that has none.
pub(super) async fn number_definitions(work: &mut Work<'_, '_>, campaign: CampaignId, definitions: &[RewardDefinition]) -> Result<()> {
    for definition in definitions {
        let args = [work.context.space.into(), definition.id.uuid().into(), campaign.uuid().into()];
        let sql = "SELECT number FROM definition_numbers WHERE space = $1 AND definition_id = $2";
        if work.tx.fetch_one(sql, &args[..2], |row| row.get::<i64>(0)).await?.is_none() {
            work.tx
                .execute(
                    "INSERT INTO definition_numbers (space, number, definition_id, campaign_id) SELECT $1, coalesce(max(number), 0) + 1, $2, $3 FROM definition_numbers WHERE space = $1",
                    &args,
                )
                .await?;
        }
    }
    Ok(())
}

/// Lets something go by the number that it had where it came from. Says whether it does: a number that
/// names something else of the side already stays where it is, and so does one that was kept before.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub what: Numbered,
    pub id: Uuid,
    pub number: i64,
}

impl Act for Keep {
    type Output = bool;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<bool> {
        let space = work.context.space;
        match find(work.tx, space, self.what, self.number).await? {
            Some(id) => return Ok(id == self.id),
            None if self.number <= 0 || kept(work.tx, space, self.what, self.id).await?.is_some() => return Ok(false),
            None => {}
        }
        let (update, reserve_sqlite, reserve_postgres) = match self.what {
            Numbered::Participant => (
                "UPDATE participants SET number = $3 WHERE space = $1 AND id = $2",
                "UPDATE sqlite_sequence SET seq = $1 WHERE name = 'participants' AND seq < $1",
                "SELECT setval(pg_get_serial_sequence('participants', 'no'), $1) WHERE $1 > (SELECT coalesce(max(no), 0) FROM participants) AND $1 > (SELECT last_value FROM participants_no_seq)",
            ),
            Numbered::Campaign => (
                "UPDATE campaigns SET number = $3 WHERE space = $1 AND id = $2",
                "UPDATE sqlite_sequence SET seq = $1 WHERE name = 'campaigns' AND seq < $1",
                "SELECT setval(pg_get_serial_sequence('campaigns', 'no'), $1) WHERE $1 > (SELECT coalesce(max(no), 0) FROM campaigns) AND $1 > (SELECT last_value FROM campaigns_no_seq)",
            ),
        };
        work.tx.execute(update, &[space.into(), self.id.into(), self.number.into()]).await?;
        let reserve = if work.tx.is_sqlite() { reserve_sqlite } else { reserve_postgres };
        work.tx.fetch(reserve, &[self.number.into()], |_| Ok(())).await?;
        Ok(true)
    }
}
