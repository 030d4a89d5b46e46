//! Leads and qualifications: each row is a decision of its own.

use super::columns::{NewLead, NewQualification};
use crate::engine::{
    Error, Result, campaign,
    participant::{self, Claim, Join, Joined, Update},
    qualify::{Answer, LeadKey, Qualify, Reject},
    work::{Act, Change, Context, Work},
};
use goodword_core::{
    decide::{LeadStatus, Outcome},
    explain::{Check, Reason},
    ids::CampaignId,
};
use goodword_store::{self as store, Tx};
use std::convert::Infallible;
use uuid::Uuid;

/// What became of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Imported,
    AlreadyThere,
    Refused(String),
}

/// Somebody joins as a lead and stands where the row says, in one transaction.
pub struct ImportLead {
    pub campaign: CampaignId,
    pub row: NewLead,
}

impl Act for ImportLead {
    type Output = Fate;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Fate> {
        let row = &self.row;
        let joined = match self.unreferred(work).await? {
            Some(participant) => self.claim(work, participant).await?,
            None => {
                let join = Join { campaign: Some(self.campaign), referrer: row.referrer.clone(), person: row.person.clone(), link_used_at: row.link_used_at };
                join.join(work, row.code.as_ref()).await?
            }
        };
        work.effects.clear(); // They are kept with the signal of joining.
        let lead = match (joined.outcome, joined.lead) {
            (Outcome::Applied | Outcome::Unchanged, Some(lead)) => lead,
            _ => return Ok(Fate::Refused(refusal(joined.reason, &joined.checks))),
        };
        let fate = if joined.created { Fate::Imported } else { Fate::AlreadyThere };
        match row.status {
            LeadStatus::Pending => Ok(fate),
            LeadStatus::Qualified => {
                // The key makes it one thing: a lead that was refunded later is not qualified again by the same file.
                let qualify = Qualify {
                    lead: LeadKey::Id(lead.id),
                    campaign: Some(self.campaign),
                    external_id: Some(format!("import:{}", lead.id)),
                    occurred_at: row.qualified_at,
                    note: None,
                };
                let answer = qualify.act(work).await?;
                Ok(if answer.qualified && !answer.repeated { Fate::Imported } else { fate_of(answer, fate) })
            }
            LeadStatus::Rejected if lead.status == LeadStatus::Rejected => Ok(fate),
            LeadStatus::Rejected => {
                Reject { lead: lead.id, rejected: true, note: None }.act(work).await?;
                Ok(Fate::Imported)
            }
        }
    }
}

impl ImportLead {
    async fn claim(&self, work: &mut Work<'_, '_>, participant: Uuid) -> Result<Joined> {
        let evidence = "An imported file says so.".to_owned();
        let joined = Claim { participant, referrer: self.row.referrer.clone(), evidence, force: false }.act(work).await?;
        if joined.created && !self.row.person.fields.is_empty() {
            work.effects.clear();
            Update { participant, as_lead: true, fields: self.row.person.fields.clone(), ..Default::default() }.act(work).await?;
        }
        Ok(joined)
    }

    /// A referrer of the campaign whom nobody referred yet. That a file names their referrer is a claim.
    async fn unreferred(&self, work: &mut Work<'_, '_>) -> Result<Option<Uuid>> {
        let campaign = campaign::get(work.tx, work.shared, work.context.space, self.campaign).await?;
        let person = participant::by_email(work.tx, work.context.space, &campaign, &self.row.person.email).await?;
        Ok(person.filter(|person| person.referrer_id.is_none() && person.lead_since.is_none()).map(|person| person.id))
    }
}

/// A lead is qualified because a file says so.
pub struct ImportQualification {
    pub campaign: Option<CampaignId>,
    pub row: NewQualification,
}

impl Act for ImportQualification {
    type Output = Fate;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> Result<Fate> {
        let NewQualification { lead, qualified_at, event_id, note } = self.row.clone();
        let qualify = Qualify { lead, campaign: self.campaign, external_id: event_id, occurred_at: qualified_at, note };
        let answer = qualify.act(work).await?;
        Ok(if answer.qualified && !answer.repeated { Fate::Imported } else { fate_of(answer, Fate::AlreadyThere) })
    }
}

/// What an answer that qualified nobody means for the row.
fn fate_of(answer: Answer, before: Fate) -> Fate {
    if answer.repeated && answer.outcome == Outcome::Applied || answer.already_qualified {
        before
    } else {
        Fate::Refused(refusal(answer.why.reason, &answer.checks))
    }
}

/// The reason, with what was found where that says more.
fn refusal(reason: Reason, checks: &[Check]) -> String {
    let sentence = reason.sentence().trim_end_matches('.');
    match checks.iter().find(|check| check.failed()) {
        Some(check) if !check.found.is_empty() => format!("{sentence}: found {}", check.found),
        _ => sentence.to_owned(),
    }
}

/// Does everything that a change does, and keeps nothing of it.
pub struct Rehearse<A>(pub Change<A>);

/// How a rehearsal ends: always with an error to the store, so that nothing is kept.
pub enum Rehearsed<T> {
    Would(T),
    Failed(Error),
}

impl<T> From<store::Error> for Rehearsed<T> {
    fn from(error: store::Error) -> Self {
        Rehearsed::Failed(error.into())
    }
}

impl<A: Act> store::Command for Rehearse<A> {
    type Output = Infallible;
    type Error = Rehearsed<A::Output>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Infallible, Self::Error> {
        match self.0.apply(tx).await {
            Ok(made) => Err(Rehearsed::Would(made.output)),
            Err(error) => Err(Rehearsed::Failed(error)),
        }
    }
}

impl crate::engine::Engine {
    /// Makes a change, or only tries it. For changes that ask no conditions.
    pub(super) async fn run_or_rehearse<A: Act>(&self, context: Context, act: A, rehearse: bool) -> Result<A::Output> {
        if !rehearse {
            return self.run(context, act).await;
        }
        let change = Change { context, shared: self.shared_arc(), act: std::sync::Arc::new(act), answers: Vec::new() };
        match self.store().write(Rehearse(change)).await {
            Ok(never) => match never {},
            Err(Rehearsed::Would(output)) => Ok(output),
            Err(Rehearsed::Failed(error)) => Err(error),
        }
    }
}
