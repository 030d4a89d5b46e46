//! Campaigns, C1 to C3 of section 2.4: read-only, as there.

use super::{
    ask::{Ask, data, ok},
    envelope::{Listing, Mode, select, wants},
    find::{self, Found},
    refusal::Answer,
    shape::{Version, campaign_shape, funnels},
};
use crate::{
    engine::{
        Result, Shared, Space,
        campaign::Campaign,
        paged::{self, Column},
        statistics,
    },
    http::Read,
};
use axum::extract::Path;
use goodword_store::Tx;
use serde_json::Value;

static COLUMNS: &[Column] = &[
    Column::campaign("id", "id"),
    Column::text("name", "name"),
    Column::text("code", "code"),
    Column::text("status", "CASE status WHEN 'live' THEN 'launched' WHEN 'draft' THEN 'draft' ELSE 'paused' END"),
    Column::time("created_at", "created_at"),
];

async fn shapes(tx: &mut Tx<'_>, shared: &Shared, space: Space, version: Version, analytics: bool, rows: &[Campaign]) -> Result<Vec<Value>> {
    let funnels = funnels(tx, space).await?;
    let ids: Vec<_> = rows.iter().map(|row| row.id.uuid()).collect();
    let people = if analytics { statistics::people_of(tx, space, &ids).await? } else { Default::default() };
    let nothing = statistics::Funnel::default();
    let shape = |campaign: &Campaign| {
        let funnel = funnels.get(&campaign.id.to_string()).unwrap_or(&nothing);
        let users = people.get(&campaign.id.uuid()).copied().unwrap_or_default();
        campaign_shape(campaign, version, &shared.public_url, funnel.visits, analytics.then_some((users, funnel)))
    };
    Ok(rows.iter().map(shape).collect())
}

pub async fn list(version: Version, ask: Ask<Read>) -> Answer {
    let mode = if version == Version::V1 { Mode::Lenient } else { Mode::Strict };
    let listing = Listing::read(&ask.input, COLUMNS, mode)?;
    let analytics = version == Version::V2 && listing.has("campaign.analytics");
    let (shared, space, filter) = (ask.app.engine.shared_arc(), ask.space(), listing.filter.clone());
    let (page, data) = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                let page = paged::campaigns(tx, &shared, space, &filter).await?;
                let data = shapes(tx, &shared, space, version, analytics, &page.rows).await?;
                Ok((page, data))
            })
        })
        .await?;
    listing.answer(&ask, &page, data)
}

pub async fn get(version: Version, Path(identifier): Path<String>, ask: Ask<Read>) -> Answer {
    let analytics = version == Version::V2 && wants(&ask.input.words("with"), "campaign.analytics");
    let (shared, space) = (ask.app.engine.shared_arc(), ask.space());
    let found = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                Ok(match find::campaign(tx, &shared, space, &identifier).await? {
                    Found::One(campaign) => match shapes(tx, &shared, space, version, analytics, std::slice::from_ref(&campaign)).await?.pop() {
                        Some(shape) => Found::One(shape),
                        None => Found::None,
                    },
                    Found::Gone => Found::Gone,
                    Found::None | Found::Several => Found::None,
                })
            })
        })
        .await?;
    ok(&data(select(found.or_refuse("campaign")?, &ask.input.words("select"))))
}
