//! What moves money takes two steps: a preview that states the effect and gives a token,
//! and `confirm` with the token.
//!
//! The effect is not guessed: what was asked for is rehearsed by the code that does it,
//! and taken back. When it is confirmed it is done in one transaction with a look at
//! what comes of it; if that is not what was stated, nothing is done.

use super::tools::{self, Tool};
use crate::{
    api::{
        self,
        conversions::{money, properties},
        qualifications::lead_key,
    },
    engine::{
        self, Error,
        qualify::{Answer, Convert},
        reward::{self, Decide},
        view,
        work::{Act, Context, Work},
    },
    http::{App, Caller, Problem, Read, extract::read_value},
    pages::sign::Signer,
};
use goodword_core::{
    campaign::ConversionKind,
    explain::Reason,
    ids::{CampaignId, LeadId, RewardId},
    money::{Currency, Decimal},
    reward::{RewardAction, RewardState},
    text::{Code, Email, Line},
    time::{MINUTE_MS, Timestamp},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const PREVIEW_MS: i64 = 10 * MINUTE_MS;

/// What a token stands for. It is good for the key that asked, as it is sealed for it.
#[derive(Serialize, Deserialize)]
struct Promise {
    tool: String,
    arguments: Value,
    effect: Effect,
    until: Timestamp,
}

/// What comes of something that moves money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Effect {
    words: String,
    /// When the reward was last changed: a token is good for it as it was seen.
    seen: Option<Timestamp>,
}

fn signer(app: &App) -> Signer {
    Signer::new(app.engine.secret(), "goodword mcp preview 2")
}

fn context(app: &App, caller: &Caller<Read>) -> Context {
    app.engine.context(caller.space, &caller.key_id.to_string(), "mcp")
}

/// Says what would come of it, with a token; what moves no money is done at once.
pub async fn preview(app: &App, caller: &Caller<Read>, tool: &Tool, arguments: Value) -> Result<Value, Problem> {
    let step = Step::read(tool.name, arguments.clone(), app.engine.now(caller.space))?;
    let (effect, _) = app.engine.rehearse(context(app, caller), step.clone()).await?;
    let Some(effect) = effect else {
        return Ok(app.engine.run(context(app, caller), AsStated { step, effect: None }).await?);
    };
    let until = app.engine.now(caller.space).plus_ms(PREVIEW_MS);
    let mut answer = json!({
        "done": false, "effect": effect.words, "valid_until": until,
        "next_step": "Show the effect to the person. If they agree, call confirm with the token.",
    });
    let promise = Promise { tool: tool.name.to_owned(), arguments, effect, until };
    answer["token"] = signer(app).seal(&caller.key_id.to_string(), json!(promise).to_string().as_bytes()).into();
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    token: String,
}

/// Does what was previewed.
pub async fn confirm(app: &App, caller: &Caller<Read>, arguments: Confirm) -> Result<Value, Problem> {
    let stale = || Problem::conflict("The token is not valid, or too old.").next_step("Preview it again and show the effect.");
    let opened = signer(app).open(&caller.key_id.to_string(), &arguments.token).ok_or_else(stale)?;
    let promise: Promise = serde_json::from_slice(&opened).map_err(|_| stale())?;
    let tool = tools::named(&promise.tool).filter(|_| app.engine.now(caller.space) <= promise.until).ok_or_else(stale)?;
    if !caller.may(tool.scope) {
        return Err(Problem::forbidden(tool.scope));
    }
    let step = Step::read(tool.name, promise.arguments, app.engine.now(caller.space))?;
    Ok(app.engine.run(context(app, caller), AsStated { step, effect: Some(promise.effect) }).await?)
}

// ---------------------------------------------------------------- what is done

/// A step, if what comes of it is what was stated.
struct AsStated {
    step: Step,
    effect: Option<Effect>,
}

impl Act for AsStated {
    type Output = Value;

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> engine::Result<Value> {
        let (effect, answer) = self.step.act(work).await?;
        if effect == self.effect {
            return Ok(answer);
        }
        let detail = "Nothing was done: it was done before, or something has changed since the preview. Preview it again and show the effect.";
        Err(Error::Conflict { reason: None, detail: detail.into() })
    }
}

#[derive(Clone)]
enum Step {
    Reward(Decide),
    Conversion(Convert),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewardStep {
    reward_id: RewardId,
    action: RewardAction,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConversionStep {
    lead_id: Option<LeadId>,
    email: Option<Email>,
    code: Option<Code>,
    coupon: Option<String>,
    campaign_id: Option<CampaignId>,
    external_id: String,
    kind: Option<ConversionKind>,
    amount: Option<Decimal>,
    currency: Option<Currency>,
    goal: Option<Line>,
    occurred_at: Option<Timestamp>,
    #[serde(default)]
    properties: Map<String, Value>,
}

impl Step {
    fn read(tool: &str, arguments: Value, now: Timestamp) -> Result<Self, Problem> {
        match tool {
            "record_conversion" => read_value::<ConversionStep>(arguments)?.convert(now).map(Self::Conversion),
            "preview_reward_action" => {
                let RewardStep { reward_id: reward, action, note } = read_value(arguments)?;
                Ok(Self::Reward(Decide { reward, action, note, amount_minor: None }))
            }
            _ => Err(Problem::not_found("tool")),
        }
    }
}

impl ConversionStep {
    fn convert(self, now: Timestamp) -> Result<Convert, Problem> {
        Ok(Convert {
            lead: lead_key(self.lead_id, self.code, self.email, self.coupon, None)?,
            campaign: self.campaign_id,
            external_id: api::external_id(Some(self.external_id))?,
            kind: self.kind.unwrap_or(ConversionKind::Order),
            amount: money(None, self.amount.as_ref(), self.currency)?,
            goal: self.goal.map(Line::into_string),
            occurred_at: api::happened("/occurred_at", self.occurred_at, now)?,
            properties: properties(self.properties)?,
            replays: None,
        })
    }
}

impl Act for Step {
    type Output = (Option<Effect>, Value);

    async fn act<'a>(&'a self, work: &'a mut Work<'_, '_>) -> engine::Result<Self::Output> {
        match self {
            Self::Reward(decide) => {
                let before = reward::get_locked(work, decide.reward).await?;
                if before.state.after(decide.action) == Err(Reason::AlreadyDone) {
                    return Err(Error::conflict(Reason::AlreadyDone, format!("The reward is {} already.", words(before.state))));
                }
                let after = decide.act(work).await?;
                let effect = Effect { words: of_action(&before, &after), seen: Some(before.updated_at) };
                Ok((Some(effect), json!(after)))
            }
            Self::Conversion(convert) => {
                let answer = convert.act(work).await?;
                Ok((of_conversion(&answer).map(|words| Effect { words, seen: None }), json!(answer)))
            }
        }
    }
}

// ---------------------------------------------------------------- in words

fn words(state: RewardState) -> String {
    state.as_str().replace('_', " ")
}

/// "20.00 EUR for Priya Shah <priya@example.com> (Thank you)".
fn what_for_whom(reward: &view::Reward) -> String {
    let worth = match (&reward.amount, &reward.coupon, reward.units, &reward.metric) {
        (Some(amount), ..) => amount.to_string(),
        (_, Some(coupon), ..) => format!("the coupon {coupon}"),
        (_, _, Some(units), Some(metric)) => format!("{units} {metric}"),
        _ => "an amount that is not known yet".to_owned(),
    };
    format!("{worth} for {} <{}> ({})", reward.beneficiary.name, reward.beneficiary.email, reward.name)
}

fn of_action(before: &view::Reward, after: &view::Reward) -> String {
    let what = what_for_whom(after);
    match after.state {
        RewardState::Issued => format!("{what} is issued. This cannot be undone, only reversed by an entry of its own."),
        RewardState::Issuing => format!("{what} is handed over to be given."),
        RewardState::Reversed => format!("{what} was issued and is taken back by an entry; the money itself must be recovered."),
        state => format!("{what} goes from {} to {}.", words(before.state), words(state)),
    }
}

/// Nothing where no reward is touched.
fn of_conversion(answer: &Answer) -> Option<String> {
    if answer.repeated || answer.rewards.is_empty() {
        return None;
    }
    let who = answer.lead.as_ref().map_or("nobody", |lead| &lead.name);
    let rewards: Vec<_> = answer.rewards.iter().map(|reward| format!("{}, {}", what_for_whom(reward), words(reward.state))).collect();
    let qualifies = if answer.qualified { " qualifies the lead and" } else { "" };
    Some(format!("The conversion of {who}{qualifies} brings about: {}.", rewards.join("; ")))
}
