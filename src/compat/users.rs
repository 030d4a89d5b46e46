//! Users, U1 to U7 of section 2.4, and what version 1 does with them (2.8).

use super::{
    ask::{Ask, Fields, data, items, ok, scalar},
    envelope::{Listing, Mode},
    find::{self, Found},
    refusal::{Answer, Refusal},
    shape::{self, LAST_NAME, People, Version},
};
use crate::{
    engine::{
        self,
        campaign::Campaign,
        paged::{self, Column},
        participant::{self, Enrol, Erase, Join, Participant, Person, ReferrerKey, Update},
        qualify::{Qualify, Unqualify},
        view,
        work::{Act, Work},
    },
    http::{Read, Report, Write},
};
use axum::{extract::Path, http::StatusCode};
use goodword_core::{
    decide::Outcome,
    explain::{Check, Reason},
    ids::ReferrerId,
    text::Email,
};
use serde_json::{Value, json};

static COLUMNS: &[Column] = &[
    Column::participant("id", "id"),
    Column::campaign("campaign_id", "campaign_id"),
    Column::participant("referrer_id", "referrer_id"),
    Column::code("code", "code"),
    Column::email("email", "email"),
    Column::text("first_name", "first_name"),
    Column::text("last_name", "last_name"),
    Column::text("source", "source"),
    Column::text("type", "CASE WHEN lead_since IS NULL THEN 'person_referring' ELSE 'person_invited' END"),
    Column::text("ip", "ip"),
    Column::flag("qualified", "CASE WHEN lead_status = 'qualified' THEN 1 ELSE 0 END"),
    Column::time("signed_up_at", "created_at"),
    Column::time("created_at", "created_at"),
    Column::time("qualified_at", "qualified_at"),
    Column::time("unsubscribed_at", "unsubscribed_at"),
];

// ---------------------------------------------------------------- looking

pub async fn list(version: Version, ask: Ask<Read>) -> Answer {
    let mode = if version == Version::V1 { Mode::Lenient } else { Mode::Strict };
    let listing = Listing::read(&ask.input, COLUMNS, mode)?;
    let (shared, space, filter, with) = (ask.app.engine.shared_arc(), ask.space(), listing.filter.clone(), listing.with.clone());
    let (page, data) = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                let page = paged::people(tx, space, &filter).await?;
                let people = People::load(tx, &shared, space, version, &with, &page.rows).await?;
                let data = page.rows.iter().map(|row| people.user(row)).collect();
                Ok((page, data))
            })
        })
        .await?;
    listing.answer(&ask, &page, data)
}

pub async fn get(version: Version, Path(identifier): Path<String>, ask: Ask<Read>) -> Answer {
    let (shared, space, campaign, with) = (ask.app.engine.shared_arc(), ask.space(), ask.input.text("campaign_id"), ask.input.words("with"));
    let found = ask
        .app
        .engine
        .read(move |tx| {
            Box::pin(async move {
                Ok(match find::user(tx, &shared, space, &identifier, campaign.as_deref()).await? {
                    Found::One(person) => Found::One(People::one(tx, &shared, space, version, &with, &person).await?),
                    Found::None => Found::None,
                    Found::Gone => Found::Gone,
                    Found::Several => Found::Several,
                })
            })
        })
        .await?;
    let user = super::envelope::select(found.or_refuse("user")?, &ask.input.words("select"));
    ok(&data(user))
}

/// The person whom a call names.
async fn user_of<S>(ask: &Ask<S>, identifier: String, campaign: Option<String>) -> Result<Participant, Refusal> {
    let (shared, space) = (ask.app.engine.shared_arc(), ask.access.space);
    let found = ask.app.engine.read(move |tx| Box::pin(async move { find::user(tx, &shared, space, &identifier, campaign.as_deref()).await })).await?;
    found.or_refuse("user")
}

// ---------------------------------------------------------------- creating

pub async fn create(version: Version, ask: Ask<Report>) -> Answer {
    create_from(version, "api", ask).await
}

/// Creates a referrer, or the lead of a referrer.
pub async fn create_from(version: Version, source: &'static str, ask: Ask<Report>) -> Answer {
    let referrer_field = if ask.input.get("referrer_code").is_some() { "referrer_code" } else { "referrer" };
    let mut fields = Fields::of(&ask.input);
    let campaign = fields.required("campaign_id");
    let first_name = fields.required("first_name");
    let first_name = fields.line("first_name", first_name);
    let last_name = fields.line("last_name", ask.input.text("last_name"));
    let email = fields.required("email");
    let email: Option<Email> = fields.parsed("email", email, "a valid email address");
    let referrer = referrer_of(&ask, &mut fields);
    fields.flag("notify");
    fields.flag("promotion");
    let campaign = match campaign {
        Some(identifier) => match campaign_of(&ask, identifier).await? {
            Some(campaign) => Some(campaign),
            None => {
                fields.wrong("campaign_id", "The selected campaign id is invalid.");
                None
            }
        },
        None => None,
    };
    let definitions = campaign.as_ref().map(|campaign| match &referrer {
        Some(_) => campaign.settings().lead_fields.as_slice(),
        None => campaign.settings().referrer_fields.as_slice(),
    });
    let meta = definitions.map(|definitions| meta_of(&ask, definitions, &mut fields)).unwrap_or_default();
    let referrer = match referrer {
        Some((key, text)) => match referrer_key(&ask, key, &text).await? {
            Some(key) => Some(key),
            None => {
                fields.wrong(referrer_field, "The selected referrer is invalid.");
                None
            }
        },
        None => None,
    };
    fields.done()?;
    let (Some(campaign), Some(first_name), Some(email)) = (campaign, first_name, email) else { return Err(Refusal::malformed("The request is incomplete.")) };
    let person = Person {
        email,
        first_name,
        last_name: last_name.or(meta.last_name).unwrap_or_default(),
        external_id: None,
        fields: meta.fields,
        ip: None,
        visitor: None,
    };
    let new = NewUser { version, campaign, person, referrer, referrer_field };
    ask.change(source, new, Clone::clone).await
}

async fn campaign_of<S>(ask: &Ask<S>, identifier: String) -> Result<Option<Campaign>, Refusal> {
    let (shared, space) = (ask.app.engine.shared_arc(), ask.access.space);
    let found = ask.app.engine.read(move |tx| Box::pin(async move { find::campaign(tx, &shared, space, &identifier).await })).await?;
    Ok(match found {
        Found::One(campaign) => Some(campaign),
        _ => None,
    })
}

/// How a call names the referrer: `referrer {field, value}`, or version 1's `referrer_code`.
fn referrer_of<S>(ask: &Ask<S>, fields: &mut Fields<'_>) -> Option<(&'static str, String)> {
    if let Some(code) = ask.input.text("referrer_code") {
        return Some(("code", code));
    }
    let referrer = ask.input.get("referrer")?;
    let member = |name: &str| referrer.get(name).and_then(scalar).filter(|text| !text.is_empty());
    let field = member("field").and_then(|field| ["id", "code", "email"].into_iter().find(|known| *known == field));
    if field.is_none() {
        fields.wrong("referrer.field", "The referrer.field must be id, code or email.");
    }
    let value = member("value");
    if value.is_none() {
        fields.wrong("referrer.value", "The referrer.value field is required.");
    }
    field.zip(value)
}

/// The key of a referrer; `None` where the value cannot be one.
async fn referrer_key<S>(ask: &Ask<S>, field: &str, value: &str) -> Result<Option<ReferrerKey>, Refusal> {
    Ok(match field {
        "email" => value.parse().ok().map(ReferrerKey::Email),
        "code" => value.parse().ok().map(ReferrerKey::Code),
        _ => {
            let (space, value) = (ask.access.space, value.to_owned());
            let id = ask.app.engine.read(move |tx| Box::pin(async move { find::user_id(tx, space, &value).await })).await?;
            id.map(|id| ReferrerKey::Id(ReferrerId::from_uuid(id)))
        }
    })
}

#[derive(Default)]
struct Meta {
    fields: view::Fields,
    last_name: Option<String>,
}

/// `meta [{field, value}]`, where a field is the label of a campaign's field.
fn meta_of<S>(ask: &Ask<S>, definitions: &[goodword_core::campaign::Field], fields: &mut Fields<'_>) -> Meta {
    let mut meta = Meta::default();
    let Some(given) = ask.input.get("meta") else { return meta };
    for (i, item) in items(given).iter().enumerate() {
        let Some(label) = item.get("field").and_then(scalar) else {
            fields.wrong(&format!("meta.{i}.field"), format!("The meta.{i}.field field is required."));
            continue;
        };
        let value = item.get("value").cloned().unwrap_or_default();
        match shape::field_key(definitions, &label) {
            Some(key) => {
                meta.fields.insert(key.to_owned(), value);
            }
            None if label.eq_ignore_ascii_case(LAST_NAME) => meta.last_name = scalar(&value),
            None => {
                let known = definitions.iter().map(|field| field.label.as_str()).chain([LAST_NAME]).collect::<Vec<_>>().join(", ");
                fields.wrong(&format!("meta.{i}.field"), format!("The campaign has no field {label}. Its fields are {known}."));
            }
        }
    }
    meta
}

/// What is answered: a status and a document.
type Done = (StatusCode, Value);

struct NewUser {
    version: Version,
    campaign: Campaign,
    person: Person,
    referrer: Option<ReferrerKey>,
    /// The name of the field that names the referrer, for refusals.
    referrer_field: &'static str,
}

impl Act for NewUser {
    type Output = Done;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> engine::Result<Done> {
        // Section 1.9: whoever is in the campaign, in either role, is not added again.
        if participant::by_email(work.tx, work.space(), &self.campaign, &self.person.email).await?.is_some() {
            return Ok(Refusal::field("email", "The email has already been taken.").reply());
        }
        let campaign = self.campaign.id;
        let person = match &self.referrer {
            None => Enrol { campaign, person: self.person.clone(), code: None }.act(work).await?.participant,
            Some(referrer) => {
                let join = Join { campaign: Some(campaign), referrer: referrer.clone(), person: self.person.clone(), link_used_at: None };
                let joined = join.act(work).await?;
                match joined.lead {
                    Some(lead) if joined.created => found(work, lead.id.uuid()).await?,
                    _ => {
                        let field = match joined.reason {
                            Reason::ReferrerKnown | Reason::ReferrerActive | Reason::ReferralLimit => self.referrer_field,
                            Reason::CampaignLive | Reason::CampaignStarted | Reason::CampaignNotEnded => "campaign_id",
                            Reason::RequiredFields => "meta",
                            _ => "email",
                        };
                        return Ok(Refusal::field(field, why(joined.reason, &joined.checks)).reply());
                    }
                }
            }
        };
        Ok((StatusCode::CREATED, data(rendered(work, self.version, &person).await?)))
    }
}

async fn found(work: &mut Work<'_, '_>, id: uuid::Uuid) -> engine::Result<Participant> {
    participant::find(work.tx, work.context.space, id).await?.ok_or(engine::Error::NotFound { what: "user" })
}

async fn rendered(work: &mut Work<'_, '_>, version: Version, person: &Participant) -> engine::Result<Value> {
    People::one(work.tx, work.shared, work.context.space, version, &[], person).await
}

/// Why something was not done, and what to do about it.
fn why(reason: Reason, checks: &[Check]) -> String {
    let failed = checks.iter().find(|check| check.failed());
    let found = failed.map_or_else(String::new, |check| format!(" Expected {}, found {}.", check.expected, check.found));
    format!("{}{found} {}", reason.sentence(), reason.next_step()).trim_end().to_owned()
}

// ---------------------------------------------------------------- changing

/// Changes names, address and fields; also `qualified`, which version 1 takes here and nowhere else.
pub async fn update(version: Version, Path(identifier): Path<String>, ask: Ask<Write>) -> Answer {
    let person = user_of(&ask, identifier, None).await?;
    let mut fields = Fields::of(&ask.input);
    let qualified = fields.flag("qualified");
    let first_name = fields.line("first_name", ask.input.text("first_name"));
    let mut last_name = fields.line("last_name", ask.input.text("last_name"));
    let email: Option<Email> = fields.parsed("email", ask.input.text("email"), "a valid email address");
    let mut changed = view::Fields::new();
    if ask.input.get("meta").is_some() {
        let (shared, space, id) = (ask.app.engine.shared_arc(), ask.space(), person.campaign);
        let campaign = ask.app.engine.read(move |tx| Box::pin(async move { engine::campaign::get(tx, &shared, space, id).await })).await?;
        let settings = campaign.settings();
        let definitions: Vec<_> = settings.lead_fields.iter().chain(&settings.referrer_fields).cloned().collect();
        let meta = meta_of(&ask, &definitions, &mut fields);
        changed = meta.fields;
        last_name = last_name.or(meta.last_name);
    }
    fields.done()?;
    let as_lead = person.lead_since.is_some();
    let update = Update { participant: person.id, as_lead, email, first_name, last_name, fields: changed, ..Default::default() };
    let is_change = update.email.is_some() || update.first_name.is_some() || update.last_name.is_some() || !update.fields.is_empty();
    ask.change("api", Change { version, person, update: is_change.then_some(update), qualified }, Clone::clone).await
}

struct Change {
    version: Version,
    person: Participant,
    update: Option<Update>,
    qualified: Option<bool>,
}

impl Act for Change {
    type Output = Done;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> engine::Result<Done> {
        if let Some(update) = &self.update {
            if let Some(email) = &update.email {
                let campaign = engine::campaign::get(work.tx, work.shared, work.context.space, self.person.campaign).await?;
                let other = participant::by_email(work.tx, work.context.space, &campaign, email).await?;
                if other.is_some_and(|other| other.id != self.person.id) {
                    return Ok(Refusal::field("email", "The email has already been taken.").reply());
                }
            }
            update.act(work).await?;
        }
        if let Some(qualified) = self.qualified {
            return Qualification { version: self.version, person: self.person.clone(), qualified }.act(work).await;
        }
        let person = found(work, self.person.id).await?;
        Ok((StatusCode::OK, updated(rendered(work, self.version, &person).await?)))
    }
}

/// Changes carry a `message`, as version 1 had it.
fn updated(user: Value) -> Value {
    json!({"data": user, "message": "The user was updated."})
}

// ---------------------------------------------------------------- qualifying

/// U6: by id, by code, or by e-mail address and campaign; `qualified: false` takes it back.
pub async fn qualification(ask: Ask<Report>) -> Answer {
    let mut fields = Fields::of(&ask.input);
    let qualified = fields.flag("qualified");
    if ask.input.get("qualified").is_none() {
        fields.wrong("qualified", "The qualified field is required.");
    }
    let identifier = ["id", "code", "email"].into_iter().find_map(|name| ask.input.text(name));
    if identifier.is_none() {
        fields.wrong("id", "One of id, code, or email with campaign_id is required.");
    }
    fields.done()?;
    let (Some(qualified), Some(identifier)) = (qualified, identifier) else { return Err(Refusal::malformed("The request is incomplete.")) };
    let person = user_of(&ask, identifier, ask.input.text("campaign_id")).await?;
    ask.change("api", Qualification { version: Version::V2, person, qualified }, Clone::clone).await
}

/// Qualifies somebody, or takes it back.
pub struct Qualification {
    pub version: Version,
    pub person: Participant,
    pub qualified: bool,
}

impl Act for Qualification {
    type Output = Done;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> engine::Result<Done> {
        let (lead, campaign) = (find::lead_key(&self.person), Some(self.person.campaign));
        let answer = match self.qualified {
            true => Qualify { lead, campaign, external_id: None, occurred_at: None, note: None }.act(work).await?,
            false => Unqualify { lead, campaign, note: None }.act(work).await?,
        };
        match answer.outcome {
            Outcome::Applied | Outcome::Unchanged | Outcome::Recorded => {
                let person = found(work, self.person.id).await?;
                Ok((StatusCode::OK, updated(rendered(work, self.version, &person).await?)))
            }
            Outcome::Ignored | Outcome::Refused => Ok(Refusal::field("qualified", why(answer.why.reason, &answer.checks)).reply()),
        }
    }
}

// ---------------------------------------------------------------- deleting

/// U7: what is known of the person is erased; their code is never given again.
pub async fn delete(Path(identifier): Path<String>, ask: Ask<Write>) -> Answer {
    let person = user_of(&ask, identifier, None).await?;
    let erase = Erase { participant: person.id, as_lead: person.lead_since.is_some() };
    ask.change("api", erase, |()| (StatusCode::OK, json!({"message": "The user was deleted."}))).await
}
