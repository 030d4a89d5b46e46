//! `goodword import referral-factory`: people, attribution, qualifications and rewards, from the vendor's
//! API or from its CSV exports.
//!
//! | module | what it does |
//! |---|---|
//! | [`theirs`] | what they tell |
//! | [`remote`], [`files`] | their API, their exports |
//! | [`report`] | what came, what could not, and why |

mod files;
mod remote;
mod report;
mod theirs;

use super::{
    Failure, Result,
    place::{Opened, Place},
    progress::{Progress, count, grouped},
};
use crate::{
    compat::field_key,
    config::Config,
    engine::{
        self,
        campaign::{self, Campaign, Change, Create, Edit},
        history::{self, BringPeople, BringRewards, Fate, Here, KeepDefinition, Past, PastReward, SetPosition},
        number::{self, Keep, Numbered},
        participant, view,
        work::{Act, Context},
    },
};
use goodword_core::{
    campaign::CampaignSettings,
    ids::{CampaignId, ReferrerId, RewardDefinitionId},
    money::{Currency, Money},
    reward::RewardTerms,
    text::{Code, Email, Line},
};
use remote::Remote;
use report::{Kind, Report};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
};
use theirs::{TheirCampaign, TheirDefinition, TheirField, TheirReferrer, TheirReward, TheirUser};
use uuid::Uuid;

/// Move a Referral Factory account here: from its API, or from its CSV exports
///
/// From the API come campaigns with their fields, people with their codes, links, attribution and
/// times of qualification, and rewards, due and issued. Give the token as REFERRAL_FACTORY_TOKEN.
/// An interrupted import goes on where it was. Run again, it adds what has happened since.
///
/// From CSV exports come the people of one campaign that is here already: --referrers and --leads.
///
/// Nothing is decided anew: no reward is given for what happened there, and no event has today's
/// date. Reward definitions come inactive: look at each before you activate it.
#[derive(Debug, clap::Args)]
pub struct ReferralFactory {
    /// Where the API is
    #[arg(long, value_name = "URL", default_value = "https://api.referral-factory.com")]
    base_url: String,
    /// The API access token; better given as REFERRAL_FACTORY_TOKEN, which other users cannot see
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A CSV export of referrers
    #[arg(long, value_name = "FILE", requires = "campaign")]
    referrers: Option<PathBuf>,
    /// A CSV export of leads, with their referrers
    #[arg(long, value_name = "FILE", requires = "campaign")]
    leads: Option<PathBuf>,
    /// For CSV: the campaign here, by id, code or exact name
    #[arg(long, value_name = "CAMPAIGN")]
    campaign: Option<String>,
    /// The currency of reward amounts, which their API does not tell
    #[arg(long, value_name = "CODE", default_value = "USD")]
    currency: String,
    /// Calls of their API in a minute, below their limit of 600
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=590))]
    per_minute: u32,
    /// Begin anew after an interruption, instead of going on
    #[arg(long)]
    from_start: bool,
    /// Tell what would come and what could not, and keep nothing
    #[arg(long)]
    dry_run: bool,
    /// Write everything that needs a look to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl ReferralFactory {
    pub fn run(self) -> Result {
        let (config, _log) = self.place.start()?;
        super::block_on(self.import(&config))
    }

    async fn import(self, config: &Config) -> Result {
        if self.place.server()?.is_some() {
            return Err(
                Failure::new("this import works on the database itself").hint("Leave --url away. With SQLite, stop the server for as long as it takes.")
            );
        }
        let currency: Currency = self.currency.parse().map_err(|_| Failure::new(format!("{} is no currency", self.currency)).hint("Give a code like EUR."))?;
        let is_csv = self.referrers.is_some() || self.leads.is_some();
        let token = self.token.clone().or_else(token_of_environment);
        let remote = match (is_csv, token) {
            (true, _) => None,
            (false, Some(token)) => Some(Remote::new(&self.base_url, token, self.per_minute)?),
            (false, None) => {
                return Err(
                    Failure::new("their API needs a token").hint("Give it as REFERRAL_FACTORY_TOKEN, or import CSV exports with --referrers and --leads.")
                );
            }
        };
        let opened = self.place.open(config, "").await.map_err(|failure| match failure.what.contains("another goodword process") {
            true => Failure::new(failure.what).hint("Stop the server for as long as the import takes; with PostgreSQL it may run on."),
            false => failure,
        })?;
        let mut mover = Mover::new(&opened, self.dry_run, currency);
        let moved = match remote {
            Some(remote) => mover.move_account(remote, self.from_start).await,
            None => mover.move_exports(&self).await,
        };
        mover.progress.clear();
        let (report, took) = (mover.report, mover.progress.elapsed());
        if !self.dry_run {
            opened.engine.forget().await?;
        }
        opened.close().await?;
        if let Some(path) = &self.report {
            report.write(path)?;
        }
        report.print(self.json, self.dry_run, took, self.report.as_deref());
        moved?;
        match report.refused() {
            0 => Ok(()),
            _ if self.dry_run => Ok(()),
            refused => Err(Failure::new(format!("{} could not come", count(refused, "thing"))).hint("Each is told above, or in the file of --report.")),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a secret of one command, which no configuration keeps")]
fn token_of_environment() -> Option<String> {
    std::env::var("REFERRAL_FACTORY_TOKEN").ok().filter(|token| !token.is_empty())
}

/// People that are brought in one transaction.
const CHUNK: usize = 250;

/// A campaign of theirs, here.
struct Target {
    /// `None` in a dry run, where it would be made.
    campaign: Option<Campaign>,
    /// What its settings are or would be.
    settings: CampaignSettings,
}

struct Mover<'a> {
    opened: &'a Opened,
    dry_run: bool,
    currency: Currency,
    report: Report,
    progress: Progress,
    campaigns: HashMap<i64, Target>,
    /// Where people of theirs are here, as far as their numbers do not say it.
    people: HashMap<i64, Uuid>,
    /// In a dry run: who would come, with which codes and addresses.
    coming: HashSet<i64>,
    codes: HashMap<String, String>,
    emails: HashSet<(Option<i64>, String)>,
}

/// Who referred somebody, here.
enum Referrer {
    Nobody,
    Here(ReferrerId),
    /// In a dry run: they would be here.
    Coming,
    Unknown,
}

impl<'a> Mover<'a> {
    fn new(opened: &'a Opened, dry_run: bool, currency: Currency) -> Self {
        Self {
            opened,
            dry_run,
            currency,
            report: Report::default(),
            progress: Progress::new(),
            campaigns: HashMap::new(),
            people: HashMap::new(),
            coming: HashSet::new(),
            codes: HashMap::new(),
            emails: HashSet::new(),
        }
    }

    fn context(&self) -> Context {
        self.opened.engine.context(self.opened.space, history::ACTOR, history::ACTOR)
    }

    async fn act<A: Act>(&self, act: A) -> Result<A::Output> {
        Ok(self.opened.engine.run(self.context(), act).await?)
    }

    // ------------------------------------------------------------ from their API

    async fn move_account(&mut self, mut remote: Remote, from_start: bool) -> Result {
        let campaigns = remote.all("/api/v2/campaigns").await?.ok_or_else(|| no_api(&remote))?;
        let definitions = remote.all("/api/v1/rewards").await?.unwrap_or_default();
        let definitions: Vec<_> = definitions.iter().filter_map(TheirDefinition::read).collect();
        for value in &campaigns {
            match TheirCampaign::read(value) {
                Some(campaign) => self.campaign(&campaign, &definitions).await?,
                None => self.report.refuse(Kind::Campaign, "a campaign", "it has no id or no name"),
            }
        }
        self.users(&mut remote, from_start).await?;
        self.rewards(&mut remote, &definitions).await
    }

    /// A campaign comes with its fields, and with its rewards as inactive definitions.
    async fn campaign(&mut self, theirs: &TheirCampaign, definitions: &[TheirDefinition]) -> Result {
        let (space, shared, id, code) = (self.opened.space, self.opened.engine.shared_arc(), theirs.id, theirs.code.parse::<Code>().ok());
        let wanted = code.clone();
        let here = self
            .opened
            .engine
            .read(move |tx| {
                Box::pin(async move {
                    let by_number = number::find(tx, space, Numbered::Campaign, id).await?.map(CampaignId::from_uuid);
                    let found = match (by_number, &wanted) {
                        (Some(id), _) => Some(id),
                        (None, Some(code)) => campaign::by_code(tx, space, code).await?,
                        (None, None) => None,
                    };
                    match found {
                        Some(id) => campaign::find(tx, &shared, space, id).await,
                        None => Ok(None),
                    }
                })
            })
            .await?;
        let here = here.filter(|here| code.as_ref().is_none_or(|code| here.code.eq_ignore_ascii_case(code.as_str())) || here.number == theirs.id);
        let settings = settings(theirs, self.currency)?;
        let name = format!("campaign {} ({})", theirs.id, theirs.name);
        let campaign = match here {
            Some(here) => {
                self.report.count(Kind::Campaign).same += 1;
                Some(here)
            }
            None if self.dry_run => {
                self.report.count(Kind::Campaign).added += 1;
                None
            }
            None => {
                let at = theirs.created_at.unwrap_or_else(|| self.opened.engine.wall());
                let context = Context { now: at, ..self.context() };
                let create = |code| Create { settings: settings.clone(), rewards: Vec::new(), status: theirs.status, code };
                let made = match self.opened.engine.run(context.clone(), create(code.clone())).await {
                    Err(engine::Error::Conflict { .. }) => {
                        self.report.note(&name, &format!("the code {} is taken here: it gets a new one, and its old join link leads elsewhere", theirs.code));
                        self.opened.engine.run(context, create(None)).await?
                    }
                    outcome => outcome?,
                };
                if code.is_none() {
                    self.report.note(&name, &format!("the code {:?} cannot be kept: codes are 3 to 32 letters, digits, hyphens and underscores", theirs.code));
                }
                self.report.count(Kind::Campaign).added += 1;
                Some(made)
            }
        };
        if let Some(campaign) = &campaign
            && !self.dry_run
            && !self.act(Keep { what: Numbered::Campaign, id: campaign.id.uuid(), number: theirs.id }).await?
        {
            self.report.note(&name, &format!("the id {} names another campaign here; its new id is {}", theirs.id, campaign.number));
        }
        let settings = campaign.as_ref().map_or(settings, |campaign| campaign.settings().clone());
        self.campaigns.insert(theirs.id, Target { campaign, settings });
        for definition in definitions.iter().filter(|definition| definition.campaign_id == theirs.id) {
            self.definition(definition).await?;
        }
        Ok(())
    }

    /// The definition here of a reward of theirs; it is made where it is not here. `None` in a dry run.
    async fn definition(&mut self, theirs: &TheirDefinition) -> Result<Option<(RewardDefinitionId, CampaignId)>> {
        let (space, n) = (self.opened.space, theirs.id);
        if let Some(found) = self.opened.engine.read(move |tx| Box::pin(async move { number::definition(tx, space, n).await })).await? {
            let is_theirs = self.campaigns.get(&theirs.campaign_id).and_then(|place| place.campaign.as_ref()).is_some_and(|campaign| campaign.id == found.1);
            if is_theirs {
                self.report.count(Kind::Definition).same += 1;
                return Ok(Some(found));
            }
        }
        let name = format!("reward {} ({})", theirs.id, theirs.name);
        let Some(place) = self.campaigns.get(&theirs.campaign_id) else {
            self.report.refuse(Kind::Definition, &name, "its campaign is not there");
            return Ok(None);
        };
        let (terms, note) = terms(theirs, self.currency)?;
        self.report.count(Kind::Definition).added += 1;
        if let Some(note) = note {
            self.report.note(&name, &note);
        }
        let Some(campaign) = place.campaign.as_ref().map(|campaign| campaign.id).filter(|_| !self.dry_run) else { return Ok(None) };
        let (campaign, id) = self.act(Edit { id: campaign, if_version: None, change: Change::AddReward(terms) }).await?;
        let id = id.ok_or_else(|| Failure::new("a reward was added and is not there"))?;
        if !self.act(KeepDefinition { definition: id, number: theirs.id }).await? {
            self.report.note(&name, &format!("the id {} names another reward here", theirs.id));
        }
        let found = (id, campaign.id);
        self.campaigns.insert(theirs.campaign_id, Target { settings: campaign.settings().clone(), campaign: Some(campaign) });
        Ok(Some(found))
    }

    async fn users(&mut self, remote: &mut Remote, from_start: bool) -> Result {
        let source = format!("referral-factory {}", remote.address);
        let (space, key) = (self.opened.space, source.clone());
        let position = self.opened.engine.read(move |tx| Box::pin(async move { history::position(tx, space, &key).await })).await?;
        let mut page = position.filter(|_| !from_start && !self.dry_run).map_or(1, |page| page + 1);
        if page > 1 {
            self.report.note("people", &format!("the import goes on with page {page}, where it was interrupted"));
        }
        let mut waiting = Vec::new();
        loop {
            let Some(found) = remote.page("/api/v2/users", page).await? else { return Err(no_api(remote)) };
            let is_last = found.rows.is_empty() || page >= found.last;
            for value in &found.rows {
                match TheirUser::read(value) {
                    Some(user) => waiting.push(user),
                    None => self.report.refuse(Kind::Referrer, "a user", "they have no id"),
                }
            }
            waiting = self.rounds(waiting).await?;
            // What waits for a referrer of a later page would be lost with the process: then this page comes again.
            if waiting.is_empty() && !self.dry_run {
                self.act(SetPosition { source: source.clone(), page: (!is_last).then_some(page) }).await?;
            }
            let (done, calls) = (self.report.people(), remote.calls);
            self.progress.show(|| {
                format!(
                    "{} of {}, page {page} of {} ({} calls)",
                    count(done, "person"),
                    grouped(found.total.unwrap_or(0).max(0) as u64),
                    found.last,
                    grouped(calls)
                )
            });
            if is_last {
                break;
            }
            page += 1;
        }
        for user in waiting {
            self.report.refuse(Kind::Lead, &user.label(), "their referrer is not there");
        }
        if !self.dry_run {
            self.act(SetPosition { source, page: None }).await?;
        }
        Ok(())
    }

    async fn rewards(&mut self, remote: &mut Remote, definitions: &[TheirDefinition]) -> Result {
        let mut groups: BTreeMap<(i64, i64), Vec<TheirReward>> = BTreeMap::new();
        for metric in ["amount", "commission", "coupon", "custom"] {
            for (stage, issued) in [("issued", true), ("due", false)] {
                let Some(rows) = remote.all(&format!("/api/v2/rewards/{stage}/{metric}")).await? else {
                    self.report.note("rewards", &format!("their API has no list of {stage} rewards of {metric}"));
                    continue;
                };
                for row in rows {
                    match TheirReward::read(&row, metric, issued) {
                        Some(reward) => groups.entry((reward.definition, reward.recipient)).or_default().push(reward),
                        None => self.report.refuse(Kind::Reward, &format!("a reward of {metric}"), "it has no id, no definition or no recipient"),
                    }
                }
            }
        }
        for ((definition, recipient), mut rewards) in groups {
            // Issued ones first, in the order of their times: see `BringRewards`.
            rewards.sort_by_key(|reward| (reward.state == goodword_core::reward::RewardState::Approved, reward.issued_at, reward.id));
            self.rewards_of(definition, recipient, &rewards, definitions).await?;
            let done = self.report.found(Kind::Reward);
            self.progress.show(|| count(done, "reward"));
        }
        Ok(())
    }

    async fn rewards_of(&mut self, definition: i64, recipient: i64, rewards: &[TheirReward], definitions: &[TheirDefinition]) -> Result {
        let Some(person) = self.person(recipient).await? else {
            let would = self.coming.contains(&recipient);
            for reward in rewards {
                match would {
                    true => self.report.count(Kind::Reward).added += 1,
                    false => self.report.refuse(Kind::Reward, &format!("reward {}", reward.id), &format!("its recipient {recipient} is not there")),
                }
            }
            return Ok(());
        };
        let known = definitions.iter().any(|known| known.id == definition);
        let (space, n) = (self.opened.space, definition);
        let found = match self.opened.engine.read(move |tx| Box::pin(async move { number::definition(tx, space, n).await })).await? {
            Some(found) if known || found.1 == person.campaign => Some(found),
            _ => {
                // Their version 1 did not tell of it: what the rewards say must do.
                let campaign = self.campaigns.iter().find(|(_, place)| place.campaign.as_ref().is_some_and(|campaign| campaign.id == person.campaign));
                let guess = TheirDefinition {
                    id: definition,
                    campaign_id: campaign.map_or(0, |(id, _)| *id),
                    name: String::new(),
                    for_lead: person.lead_since.is_some(),
                    metric: rewards.first().map_or("", |reward| reward.metric).to_owned(),
                    value: rewards.first().map(|reward| reward.total.clone()).unwrap_or_default(),
                    joined: false,
                };
                self.definition(&guess).await?
            }
        };
        let Some((id, campaign)) = found.filter(|_| !self.dry_run) else {
            self.report.count(Kind::Reward).added += rewards.len() as u64;
            return Ok(());
        };
        let mut past = Vec::with_capacity(rewards.len());
        for reward in rewards {
            let amount = match reward.metric {
                "amount" | "commission" => match amount(&reward.total, self.currency) {
                    Some(amount) => Some(amount),
                    None => {
                        self.report.note(
                            &format!("reward {}", reward.id),
                            &format!("its total {:?} is no amount in {}; it comes without one", reward.total, self.currency),
                        );
                        None
                    }
                },
                _ => None,
            };
            let units = (reward.metric == "custom").then(|| reward.total.parse::<f64>().map_or(0, |total| total as i64));
            past.push(PastReward { number: reward.id, state: reward.state, amount, units, coupon: reward.coupon.clone(), issued_at: reward.issued_at });
        }
        let brought = self.act(BringRewards { definition: id, campaign, recipient: person.id, rewards: past }).await?;
        let tally = self.report.count(Kind::Reward);
        tally.added += brought.added;
        tally.changed += brought.changed;
        tally.same += brought.same;
        for why in brought.refused {
            self.report.refuse(Kind::Reward, &format!("a reward of user {recipient}"), &why);
        }
        Ok(())
    }

    /// A person of theirs, here.
    async fn person(&self, number: i64) -> Result<Option<participant::Participant>> {
        let (space, kept) = (self.opened.space, self.people.get(&number).copied());
        let found = self.opened.engine.read(move |tx| {
            Box::pin(async move {
                let id = match kept {
                    Some(id) => Some(id),
                    None => number::find(tx, space, Numbered::Participant, number).await?,
                };
                match id {
                    Some(id) => participant::find(tx, space, id).await,
                    None => Ok(None),
                }
            })
        });
        Ok(found.await?)
    }

    // ------------------------------------------------------------ from their exports

    async fn move_exports(&mut self, order: &ReferralFactory) -> Result {
        let campaign = self.opened.campaign(order.campaign.as_deref().unwrap_or_default()).await?;
        let settings = campaign.settings().clone();
        self.campaigns.insert(FILES, Target { campaign: Some(campaign), settings });
        for (path, is_leads) in [(&order.referrers, false), (&order.leads, true)] {
            let Some(path) = path else { continue };
            let people = files::read(path)?;
            let all = people.len() as u64;
            for chunk in people.chunks(CHUNK) {
                let mut users = Vec::with_capacity(chunk.len());
                for (line, user) in chunk {
                    let user = TheirUser { campaign_id: Some(FILES), ..user.clone() };
                    match (is_leads, &user.referrer) {
                        (true, None) => self.report.refuse(Kind::Lead, &format!("line {line} ({})", user.email), "no referrer is named"),
                        // What an export of referrers says about who referred them comes with the leads.
                        (false, Some(_)) => users.push(TheirUser { referrer: None, ..user }),
                        _ => users.push(user),
                    }
                }
                for user in self.rounds(users).await? {
                    self.report.refuse(Kind::Lead, &user.label(), "their referrer is not there");
                }
                let done = self.report.people();
                self.progress.show(|| format!("{} of {}", count(done, "person"), grouped(all)));
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------ people

    /// Brings those whose referrer is here, until nobody is left or nobody can come. Returns who waits.
    async fn rounds(&mut self, mut users: Vec<TheirUser>) -> Result<Vec<TheirUser>> {
        loop {
            let mut ready: BTreeMap<i64, Vec<(TheirUser, Past)>> = BTreeMap::new();
            let mut waiting = Vec::new();
            let before = users.len();
            for user in users {
                let Some(campaign) = user.campaign_id.filter(|id| self.campaigns.contains_key(id)) else {
                    self.report.refuse(kind(&user), &user.label(), "their campaign is not there");
                    continue;
                };
                let referrer = match self.referrer(&user, campaign).await? {
                    Referrer::Unknown => {
                        waiting.push(user);
                        continue;
                    }
                    Referrer::Here(id) => Some(id),
                    Referrer::Nobody | Referrer::Coming => None,
                };
                match self.past(&user, campaign, referrer) {
                    Ok(past) => ready.entry(campaign).or_default().push((user, past)),
                    Err(why) => self.report.refuse(kind(&user), &user.label(), &why),
                }
            }
            for (campaign, people) in ready {
                for chunk in people.chunks(CHUNK) {
                    if self.dry_run { self.rehearse(campaign, chunk).await? } else { self.bring(campaign, chunk).await? }
                }
            }
            if waiting.is_empty() || waiting.len() == before {
                return Ok(waiting);
            }
            users = waiting;
        }
    }

    async fn referrer(&self, user: &TheirUser, campaign: i64) -> Result<Referrer> {
        let Some(theirs) = user.referrer.clone() else { return Ok(Referrer::Nobody) };
        if self.dry_run {
            let would = match &theirs {
                TheirReferrer::Id(id) => self.coming.contains(id),
                TheirReferrer::Code(code) => self.codes.contains_key(&code.to_ascii_lowercase()),
                TheirReferrer::Email(email) => self.emails.contains(&(Some(campaign), email.to_lowercase())),
            };
            if would {
                return Ok(Referrer::Coming);
            }
        }
        let here = self.campaigns.get(&campaign).and_then(|place| place.campaign.clone());
        let (space, kept) = (self.opened.space, matches!(&theirs, TheirReferrer::Id(id) if self.people.contains_key(id)));
        let id = match &theirs {
            TheirReferrer::Id(id) if kept => self.people.get(id).copied(),
            _ => {
                self.opened
                    .engine
                    .read(move |tx| {
                        Box::pin(async move {
                            match theirs {
                                TheirReferrer::Id(id) => number::find(tx, space, Numbered::Participant, id).await,
                                TheirReferrer::Code(code) => match code.parse() {
                                    Ok(code) => participant::by_code(tx, space, &code).await,
                                    Err(_) => Ok(None),
                                },
                                TheirReferrer::Email(email) => match (email.parse::<Email>(), here) {
                                    (Ok(email), Some(campaign)) => Ok(participant::by_email(tx, space, &campaign, &email).await?.map(|person| person.id)),
                                    _ => Ok(None),
                                },
                            }
                        })
                    })
                    .await?
            }
        };
        Ok(id.map_or(Referrer::Unknown, |id| Referrer::Here(ReferrerId::from_uuid(id))))
    }

    /// A user of theirs in our words, or why they cannot come.
    fn past(&mut self, user: &TheirUser, campaign: i64, referrer: Option<ReferrerId>) -> std::result::Result<Past, String> {
        let email: Email = user.email.parse().map_err(|_| format!("{:?} is no e-mail address", user.email))?;
        let code = match &user.code {
            None => None,
            Some(text) => match text.parse::<Code>() {
                Ok(code) => Some(code),
                Err(invalid) => {
                    self.report.note(&user.label(), &format!("the code {text:?} cannot be kept (expected {}): a new one is given", invalid.expected));
                    None
                }
            },
        };
        let now = self.opened.engine.now(self.opened.space);
        let signed_up_at = user.signed_up_at.or(user.qualified_at).unwrap_or(now).min(now);
        let mut last_name = user.last_name.clone();
        let mut fields = view::Fields::new();
        if let Some(place) = self.campaigns.get(&campaign) {
            let own = if user.referrer.is_some() { &place.settings.lead_fields } else { &place.settings.referrer_fields };
            for (label, value) in &user.meta {
                match field_key(own, label) {
                    Some(key) => {
                        fields.insert(key.to_owned(), Value::String(value.clone()));
                    }
                    None if label.eq_ignore_ascii_case("last name") => last_name = value.clone(),
                    None => self.report.note_once(&format!("the field {label}"), "the campaign has no such field: its values are left out"),
                }
            }
        }
        let line = |text: &str| text.parse::<Line>().map(Line::into_string).unwrap_or_default();
        Ok(Past {
            number: user.id,
            code,
            email,
            first_name: line(&user.first_name),
            last_name: line(&last_name),
            fields,
            source: source(&user.source),
            ip: user.ip.clone(),
            signed_up_at,
            referrer,
            qualified_at: user.qualified.then(|| user.qualified_at.unwrap_or(now).max(signed_up_at)).filter(|_| user.referrer.is_some()),
            unsubscribed_at: user.unsubscribed_at,
        })
    }

    async fn bring(&mut self, campaign: i64, people: &[(TheirUser, Past)]) -> Result {
        let Some(id) = self.campaigns.get(&campaign).and_then(|place| place.campaign.as_ref()).map(|campaign| campaign.id) else { return Ok(()) };
        let fates = self.act(BringPeople { campaign: id, people: people.iter().map(|(_, past)| past.clone()).collect() }).await?;
        for ((user, past), fate) in people.iter().zip(fates) {
            if let (Some(theirs), Some(here)) = (user.id, fate.id()) {
                self.people.insert(theirs, here);
            }
            let tally = self.report.count(kind(user));
            let notes = match fate {
                Fate::Added { notes, .. } => {
                    tally.added += 1;
                    tally.qualified += u64::from(past.qualified_at.is_some());
                    notes
                }
                Fate::Changed { notes, .. } => {
                    tally.changed += 1;
                    notes
                }
                Fate::Same { notes, .. } => {
                    tally.same += 1;
                    notes
                }
                Fate::Refused(why) => {
                    self.report.refuse(kind(user), &user.label(), &why);
                    continue;
                }
            };
            for note in notes {
                self.report.note(&user.label(), &note);
            }
        }
        Ok(())
    }

    /// What [`Mover::bring`] would do.
    async fn rehearse(&mut self, campaign: i64, people: &[(TheirUser, Past)]) -> Result {
        let here = self.campaigns.get(&campaign).and_then(|place| place.campaign.clone());
        for (user, past) in people {
            let (space, here, wanted) = (self.opened.space, here.clone(), past.clone());
            let met = self.opened.engine.read(move |tx| Box::pin(async move { history::meet(tx, space, here.as_ref(), &wanted).await })).await?;
            let key = past.code.as_ref().map(Code::key);
            match met {
                Here::Other(why) => {
                    self.report.refuse(kind(user), &user.label(), &why);
                    continue;
                }
                Here::Somebody(person) => {
                    let changes = past.qualified_at.is_some() && person.lead_since.is_some() && person.first_qualified_at.is_none()
                        || past.unsubscribed_at.is_some() && person.unsubscribed_at.is_none();
                    let tally = self.report.count(kind(user));
                    if changes { tally.changed += 1 } else { tally.same += 1 }
                }
                Here::Nobody { notes, .. } => {
                    if !self.emails.insert((Some(campaign), past.email.address_key())) {
                        self.report.refuse(kind(user), &user.label(), "the address is there twice");
                        continue;
                    }
                    if let Some(other) = key.as_ref().and_then(|key| self.codes.get(key)) {
                        let note = format!(
                            "the code {} differs from that of {other} in case only: a new one is given, and the old link leads to them",
                            past.code.as_ref().map_or("", Code::as_str)
                        );
                        self.report.note(&user.label(), &note);
                    }
                    for note in notes {
                        self.report.note(&user.label(), &note);
                    }
                    let tally = self.report.count(kind(user));
                    tally.added += 1;
                    tally.qualified += u64::from(past.qualified_at.is_some());
                }
            }
            self.emails.insert((Some(campaign), past.email.address_key()));
            if let Some(key) = key {
                self.codes.entry(key).or_insert_with(|| user.label());
            }
            self.coming.extend(user.id);
        }
        Ok(())
    }
}

/// Where the people of files belong.
const FILES: i64 = 0;

const fn kind(user: &TheirUser) -> Kind {
    if user.referrer.is_some() { Kind::Lead } else { Kind::Referrer }
}

fn no_api(remote: &Remote) -> Failure {
    Failure::new(format!("there is no API of Referral Factory at {}", remote.address)).hint("Give its address with --base-url, without /api/v2.")
}

/// Their `N8n` is our `n8n`.
fn source(word: &str) -> String {
    let plain: String = word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').take(40).collect::<String>().to_lowercase();
    if plain.is_empty() { history::ACTOR.to_owned() } else { plain }
}

/// A decimal amount of theirs. What goes beyond the digits of the currency is cut off: nobody is owed more than is written.
fn amount(text: &str, currency: Currency) -> Option<Money> {
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let (whole, part) = digits.split_once('.').unwrap_or((&digits, ""));
    let part = &part[..part.len().min(currency.decimals() as usize)];
    Money::parse(if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }.as_str(), currency).ok()
}

/// A campaign's settings; addresses are compared as plainly as there.
fn settings(theirs: &TheirCampaign, currency: Currency) -> Result<CampaignSettings> {
    let language = if (2..=35).contains(&theirs.language.len()) { theirs.language.replace('_', "-") } else { "en".to_owned() };
    let line = |text: &str, otherwise: String| text.parse::<Line>().map_or(otherwise, Line::into_string);
    let value = |language: &str| {
        json!({
            "name": line(&theirs.name, format!("Campaign {}", theirs.id)),
            "language": language,
            "currency": currency,
            "starts_at": theirs.starts_at,
            "ends_at": theirs.ends_at.filter(|end| theirs.starts_at.is_none_or(|start| *end > start)),
            "duplicates": "same_address",
            "referrer_fields": fields(&theirs.referrer_fields),
            "lead_fields": fields(&theirs.lead_fields),
        })
    };
    let read = |value: Value| serde_json::from_value::<CampaignSettings>(value).ok().filter(|settings| settings.validate().is_ok());
    read(value(&language)).or_else(|| read(value("en"))).ok_or_else(|| Failure::new(format!("campaign {} ({}) cannot be understood", theirs.id, theirs.name)))
}

/// Fields with keys made of their labels. Name and address are no fields with us.
fn fields(theirs: &[TheirField]) -> Vec<Value> {
    let mut keys = HashSet::new();
    let mut fields = Vec::new();
    for field in theirs {
        if ["first name", "last name", "email", "email address"].iter().any(|own| field.label.eq_ignore_ascii_case(own)) || field.label.parse::<Line>().is_err()
        {
            continue;
        }
        let plain: String = field.label.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        let plain = plain.trim_matches('_');
        let stem: String =
            if plain.starts_with(|c: char| c.is_ascii_lowercase()) { plain.to_owned() } else { format!("field_{plain}") }.chars().take(36).collect();
        let key = (1..).map(|n| if n == 1 { stem.clone() } else { format!("{stem}_{n}") }).find(|key| !keys.contains(key)).unwrap_or_default();
        let kind = if field.options.is_empty() { "text" } else { "select" };
        fields.push(json!({"key": key, "label": field.label, "kind": kind, "options": field.options, "required": field.required}));
        keys.insert(key);
    }
    fields.truncate(30);
    fields
}

/// The terms of a definition, inactive; and what must be looked at.
fn terms(theirs: &TheirDefinition, currency: Currency) -> Result<(RewardTerms, Option<String>)> {
    let known = amount(&theirs.value, currency).filter(|amount| amount.minor > 0);
    let percent: Option<f64> =
        theirs.value.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect::<String>().parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    let metric = theirs.metric.as_str();
    let share = percent.filter(|percent| *percent >= 0.01);
    // Joining has no amount that a commission could be a share of.
    let moved = theirs.joined && metric == "commission";
    let (value, is_guess) = match metric {
        "coupon" => (json!({"type": "coupon"}), false),
        "commission" => (json!({"type": "commission", "percent": format!("{:.2}", share.unwrap_or(0.01))}), share.is_none()),
        "custom" => (json!({"type": "custom", "metric": "units", "units": percent.map_or(1, |units| (units as i64).max(1))}), true),
        _ => (json!({"type": "fixed", "amount": known.unwrap_or(Money::new(1, currency))}), known.is_none() || !matches!(metric, "amount" | "fixed")),
    };
    let name = theirs.name.parse::<Line>().map_or_else(|_| format!("Reward {}", theirs.id), Line::into_string);
    let terms = json!({
        "name": name,
        "beneficiary": if theirs.for_lead { "lead" } else { "referrer" },
        "value": value,
        "trigger": if theirs.joined && !moved { "joined" } else { "qualified" },
        "active": false,
    });
    let terms: RewardTerms = serde_json::from_value(terms).map_err(|error| Failure::new(format!("reward {}: {error}", theirs.id)))?;
    let note = match is_guess {
        true => format!("it came inactive and its value ({} {:?}) could not be read: set it, then activate it", theirs.metric, theirs.value),
        false if moved => "it came inactive, and for qualifying: joining has no amount that a commission could be a share of. Compare its value, its cadence and how it is issued, then activate it".to_owned(),
        false => "it came inactive: compare its value, its cadence and how it is issued, then activate it".to_owned(),
    };
    Ok((terms, Some(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_from_what_is_written() {
        let eur: Currency = "EUR".parse().unwrap();
        for (text, minor) in [("20", 2_000), ("20.5", 2_050), ("€ 12.345", 1_234), ("1.0", 100), ("7.", 700)] {
            assert_eq!(amount(text, eur).map(|money| money.minor), Some(minor), "{text}");
        }
        assert_eq!(amount("much", eur), None);
    }

    #[test]
    fn labels_become_keys() {
        let field =
            |label: &str, options: &[&str]| TheirField { label: label.into(), options: options.iter().map(|&option| option.into()).collect(), required: false };
        let fields =
            fields(&[field("First Name", &[]), field("Shoe size (EU)", &[]), field("Shoe-size: EU", &[]), field("42", &[]), field("Country", &["NL", "DE"])]);
        let keys: Vec<_> = fields.iter().map(|field| field["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["shoe_size__eu", "shoe_size__eu_2", "field_42", "country"]);
        assert_eq!(fields[3]["kind"], "select");
    }
}
