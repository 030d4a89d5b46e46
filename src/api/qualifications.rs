//! `/v1/qualifications`: qualify a lead, named in whichever way you know it.

use super::{Done, external_id, happened, note, write, write_many};
use crate::{
    engine::{
        qualify::{Answer, LeadKey, Qualify, Unqualify},
        work::Act,
    },
    http::{App, Body, BodyOrForm, Caller, IdempotencyKey, Problem, Report, Routes, routes},
};
use axum::{extract::State, http::StatusCode};
use goodword_core::{
    ids::{CampaignId, LeadId},
    text::{Code, Email},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub fn router() -> Routes {
    Routes::new().routes(routes!(create)).routes(routes!(batch))
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewQualification {
    lead_id: Option<LeadId>,
    /// The lead's own code.
    code: Option<Code>,
    email: Option<Email>,
    /// A coupon that the lead was given.
    coupon: Option<String>,
    /// Your own id of the person.
    lead_external_id: Option<String>,
    /// Needed where the person is a lead in several campaigns.
    campaign_id: Option<CampaignId>,
    /// `false` takes the qualification back.
    #[serde(default = "yes")]
    qualified: bool,
    /// The id of the event in your system: told twice, it counts once.
    external_id: Option<String>,
    /// Now where absent; not more than a day in the future.
    occurred_at: Option<Timestamp>,
    #[schema(max_length = 1000)]
    note: Option<String>,
    #[schema(pattern = "^[a-z0-9_.-]{1,40}$")]
    source: Option<String>,
}

const fn yes() -> bool {
    true
}

/// The lead, named in exactly one way.
pub(crate) fn lead_key(
    id: Option<LeadId>,
    code: Option<Code>,
    email: Option<Email>,
    coupon: Option<String>,
    external: Option<String>,
) -> Result<LeadKey, Problem> {
    let mut named = Vec::new();
    named.extend(id.map(LeadKey::Id));
    named.extend(code.map(LeadKey::Code));
    named.extend(email.map(LeadKey::Email));
    named.extend(coupon.map(LeadKey::Coupon));
    named.extend(external.map(LeadKey::ExternalId));
    match named.len() {
        1 => Ok(named.remove(0)),
        _ => Err(Problem::invalid("/lead_id", "exactly one of lead_id, code, email, coupon and lead_external_id, to name the lead")),
    }
}

enum Either {
    Qualify(Qualify),
    Unqualify(Unqualify),
}

impl Act for Either {
    type Output = Answer;

    async fn act<'a>(&'a self, work: &'a mut crate::engine::work::Work<'_, '_>) -> crate::engine::Result<Answer> {
        match self {
            Either::Qualify(act) => act.act(work).await,
            Either::Unqualify(act) => act.act(work).await,
        }
    }
}

impl NewQualification {
    fn act(self, now: Timestamp) -> Result<Either, Problem> {
        let lead = lead_key(self.lead_id, self.code, self.email, self.coupon, self.lead_external_id)?;
        let note = note(self.note)?;
        let occurred_at = happened("/occurred_at", self.occurred_at, now)?;
        Ok(if self.qualified {
            Either::Qualify(Qualify { lead, campaign: self.campaign_id, external_id: external_id(self.external_id)?, occurred_at, note })
        } else {
            Either::Unqualify(Unqualify { lead, campaign: self.campaign_id, note })
        })
    }
}

/// Qualify a lead
///
/// By id, code, e-mail address, coupon, or your own id of the person. The answer always
/// says what was decided and why; where nobody matches that is `outcome: ignored` with
/// `lead: null`, and the signal is kept. 409 where the person is a lead in several
/// campaigns and none is named.
#[utoipa::path(post, path = "/v1/qualifications", tag = "qualifications",
    request_body(content((NewQualification = "application/json"), (NewQualification = "application/x-www-form-urlencoded"))))]
async fn create(State(app): State<App>, caller: Caller<Report>, key: IdempotencyKey, body: BodyOrForm<NewQualification>) -> Result<Done<Answer>, Problem> {
    let source = body.value.source.clone();
    write(&app, &caller, source.as_deref(), key, body.raw_hash, body.value.act(app.engine.now(caller.space))?, |answer| (StatusCode::OK, answer)).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewQualifications {
    #[schema(min_items = 1, max_items = 100)]
    qualifications: Vec<NewQualification>,
}

/// What became of one of many.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemResult {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The answer; `null` where there is a problem.
    pub answer: Option<Answer>,
    /// The problem (RFC 9457); `null` where there is an answer.
    #[schema(value_type = Option<Object>)]
    pub problem: Option<serde_json::Value>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ItemResults {
    pub data: Vec<ItemResult>,
}

/// Qualify many leads
///
/// Up to 100 at once; each is decided by itself, and one that fails stops no other. Give
/// each an `external_id` to make sending it in another batch harmless.
#[utoipa::path(post, path = "/v1/qualifications/batch", tag = "qualifications", request_body = NewQualifications)]
async fn batch(State(app): State<App>, caller: Caller<Report>, key: IdempotencyKey, body: Body<NewQualifications>) -> Result<Done<ItemResults>, Problem> {
    if !(1..=100).contains(&body.value.qualifications.len()) {
        return Err(Problem::invalid("/qualifications", "1 to 100 qualifications"));
    }
    let one = async |new: NewQualification| -> Result<Answer, Problem> {
        let context = super::context(&app, &caller, new.source.as_deref())?;
        Ok(app.engine.run(context, new.act(app.engine.now(caller.space))?).await?)
    };
    let result = |(index, answer): (usize, Result<Answer, Problem>)| match answer {
        Ok(answer) => ItemResult { index, answer: Some(answer), problem: None },
        Err(problem) => ItemResult { index, answer: None, problem: Some(problem.to_json()) },
    };
    let all = async {
        // At the same time, so that they share a commit.
        let answers = futures_util::future::join_all(body.value.qualifications.into_iter().map(one)).await;
        Ok(ItemResults { data: answers.into_iter().enumerate().map(result).collect() })
    };
    write_many(&app, &caller, key, body.raw_hash, all).await
}
