//! Who and what an identifier names. Section 8.5: users by id, code and e-mail alike.

use super::refusal::Refusal;
use crate::engine::{
    Result, Shared, Space,
    campaign::{self, Campaign},
    number::{self, Numbered},
    participant::{self, Participant},
    qualify::LeadKey,
};
use goodword_core::{
    ids::{CampaignId, LeadId, ReferrerId},
    text::{Code, Email},
};
use goodword_store::Tx;
use uuid::Uuid;

/// What an identifier led to.
#[derive(Debug)]
pub enum Found<T> {
    One(T),
    None,
    /// It was there, and was deleted.
    Gone,
    /// An e-mail address of several campaigns.
    Several,
}

impl<T> Found<T> {
    pub fn or_refuse(self, what: &str) -> std::result::Result<T, Refusal> {
        match self {
            Found::One(found) => Ok(found),
            Found::None => Err(Refusal::not_found(what)),
            Found::Gone => Err(Refusal::gone(what)),
            Found::Several => Err(Refusal::field("campaign_id", "Several campaigns have a user with this e-mail address: say which campaign.")),
        }
    }
}

/// The person whose id is a number, one of our own ids, a code or an e-mail address.
pub async fn user(tx: &mut Tx<'_>, shared: &Shared, space: Space, identifier: &str, campaign: Option<&str>) -> Result<Found<Participant>> {
    let campaign = match campaign {
        Some(identifier) => match self::campaign(tx, shared, space, identifier).await? {
            Found::One(campaign) => Some(campaign),
            _ => return Ok(Found::None),
        },
        None => None,
    };
    let within = |p: &Participant| campaign.as_ref().is_none_or(|campaign| campaign.id == p.campaign);
    let identifier = identifier.trim();
    if identifier.contains('@') {
        let Ok(email) = identifier.parse::<Email>() else { return Ok(Found::None) };
        let mut people = match &campaign {
            Some(campaign) => participant::by_email(tx, space, campaign, &email).await?.into_iter().collect(),
            None => participant::by_email_anywhere(tx, space, &email).await?,
        };
        return Ok(match people.len() {
            0 => Found::None,
            1 => people.pop().map_or(Found::None, Found::One),
            _ => Found::Several,
        });
    }
    let Some(id) = user_id(tx, space, identifier).await? else { return Ok(Found::None) };
    Ok(match participant::find(tx, space, id).await?.filter(within) {
        Some(person) if person.is_erased() => Found::Gone,
        Some(person) => Found::One(person),
        None => Found::None,
    })
}

/// The id of the person with that number, id or code.
pub async fn user_id(tx: &mut Tx<'_>, space: Space, identifier: &str) -> Result<Option<Uuid>> {
    if let Ok(number) = identifier.parse::<i64>()
        && let Some(id) = number::find(tx, space, Numbered::Participant, number).await?
    {
        return Ok(Some(id));
    }
    if let Ok(id) = identifier.parse::<ReferrerId>().map(|id| id.uuid()).or_else(|_| identifier.parse::<LeadId>().map(|id| id.uuid())) {
        return Ok(Some(id));
    }
    // Also a code that has nothing but digits.
    match identifier.parse::<Code>() {
        Ok(code) => participant::by_code(tx, space, &code).await,
        Err(_) => Ok(None),
    }
}

/// The key of a lead for a person that was found.
pub fn lead_key(person: &Participant) -> LeadKey {
    LeadKey::Id(person.lead())
}

/// The campaign whose id is a number, one of our own ids, or a code.
pub async fn campaign(tx: &mut Tx<'_>, shared: &Shared, space: Space, identifier: &str) -> Result<Found<Campaign>> {
    let identifier = identifier.trim();
    let mut id = match identifier.parse::<i64>() {
        Ok(number) => number::find(tx, space, Numbered::Campaign, number).await?.map(CampaignId::from_uuid),
        Err(_) => identifier.parse::<CampaignId>().ok(),
    };
    if id.is_none()
        && let Ok(code) = identifier.parse::<Code>()
    {
        id = campaign::by_code(tx, space, &code).await?;
    }
    let Some(id) = id else { return Ok(Found::None) };
    Ok(match campaign::find(tx, shared, space, id).await? {
        Some(campaign) => Found::One(campaign),
        None if campaign::was_deleted(tx, space, id).await? => Found::Gone,
        None => Found::None,
    })
}
