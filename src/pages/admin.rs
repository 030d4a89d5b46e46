//! The desk of those who run the program: what needs somebody, how things go, and why
//! each lead is what it is. Everything here, and more, is in the API.
//!
//! | address | what it is |
//! |---|---|
//! | `GET`, `POST /app/sign-in/{token}` | asks, and signs in; a link that is only looked at signs nobody in |
//! | `GET /app`, `GET /app?side=test` | the desk of a side |
//! | `GET /app/leads/{id}` | a lead, with every check, what was found and the next step |
//! | `POST /app/rewards/{id}` | approves or rejects a reward in review |
//! | `POST /app/sign-out` | ends the session in this browser |
//!
//! Whoever can run `goodword admin` on the server makes the links; there are no passwords.

use super::{
    layout::{Icon, Page, Site, icon},
    message,
    routes::{Answer, Public, Trouble, finish, nobody, onward, page, read_form, segment, text},
    sign::Signer,
    words::Language,
};
use crate::engine::{
    Result, Shared, Space,
    campaign::{self, Campaign},
    endpoint::{self, Endpoint, EndpointFilter, EndpointStatus},
    list,
    participant::{self, PeopleFilter},
    qualify::{self, Explanation},
    reward::{self, Decide, RewardFilter},
    signal::{self, SignalFilter, SignalView},
    statistics::{self, Funnel},
    view, workspace,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use goodword_core::{
    decide::{LeadStatus, Outcome},
    ids::{LeadId, RewardId},
    reward::{RewardAction, RewardState},
    time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp},
};
use goodword_store::Tx;
use maud::{Markup, html};

const COOKIE: &str = "goodword_app";
const SESSION_MS: i64 = 12 * HOUR_MS;
const LINK_MS: i64 = 30 * MINUTE_MS;
const FUNNEL_DAYS: i64 = 30;
/// Rows of each list on the desk.
const ROWS: usize = 6;
const ACTOR: &str = "admin";
const SOURCE: &str = "app";

pub(super) fn router() -> Router<Public> {
    Router::new()
        .route("/app", get(desk_page))
        .route("/app/leads/{id}", get(lead_page))
        .route("/app/rewards/{id}", post(decide))
        .route("/app/sign-in/{token}", get(ask).post(sign_in))
        .route("/app/sign-out", post(sign_out))
}

// ---------------------------------------------------------------- who is there

/// Makes and reads links and sessions: a workspace's live side, and until when.
pub struct Door(Signer);

impl Door {
    pub fn new(secret: &[u8]) -> Self {
        Self(Signer::new(secret, "goodword admin 1"))
    }

    fn seal(&self, about: &str, live: Space, until: Timestamp) -> String {
        let mut payload = live.number().to_be_bytes().to_vec();
        payload.extend_from_slice(&until.ms().to_be_bytes());
        self.0.seal(about, &payload)
    }

    fn open(&self, about: &str, sealed: &str, now: Timestamp) -> Option<Space> {
        let payload = self.0.open(about, sealed)?;
        let (live, until) = payload.split_at_checked(size_of::<i64>())?;
        let until = i64::from_be_bytes(until.try_into().ok()?);
        (now.ms() < until).then(|| i64::from_be_bytes(live.try_into().unwrap_or_default())).map(Space::new)
    }
}

/// A link that signs in at a workspace, good for half an hour.
pub fn sign_in_link(secret: &[u8; 32], public_url: &str, live: Space, now: Timestamp) -> String {
    format!("{public_url}/app/sign-in/{}", Door::new(secret).seal("link", live, now.plus_ms(LINK_MS)))
}

/// The live side of the workspace that this browser is signed in at.
fn signed_in(public: &Public, headers: &HeaderMap) -> Option<Space> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok()).flat_map(|cookies| cookies.split(';'));
    let sealed = cookies.filter_map(|cookie| cookie.trim().split_once('=')).find(|(name, _)| *name == COOKIE)?.1;
    Door::new(public.engine().secret()).open("session", sealed, public.engine().wall())
}

fn cookie(public: &Public, value: &str, max_age_s: i64) -> HeaderValue {
    let secure = if public.is_secure() { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/app; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(cookie).expect("base64 is a header's value")
}

/// A link from a mail or a chat is looked at by programs too; a person presses the button.
async fn ask(State(public): State<Public>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let engine = public.engine();
    let language = Language::new("en");
    let site = nobody(&language);
    if Door::new(engine.secret()).open("link", segment(&parts.uri, 2), engine.wall()).is_none() {
        return page(StatusCode::GONE, message::signed_out(&site));
    }
    let body = html! {
        section.hero.centre aria-labelledby="h" {
            div.say {
                h1 #h { "Sign in to Goodword" }
                p.lede { "This browser stays signed in for twelve hours." }
                form method="post" { button.p-btn.go { "Sign in" (icon(Icon::Arrow)) } }
            }
        }
    };
    page(StatusCode::OK, Page { site: &site, title: "Sign in".to_owned(), description: None, corner: None, body }.html())
}

async fn sign_in(State(public): State<Public>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        read_form(&public, &parts, body).await?;
        let engine = public.engine();
        let door = Door::new(engine.secret());
        let Some(live) = door.open("link", segment(&parts.uri, 2), engine.wall()) else {
            return Ok(page(StatusCode::GONE, message::signed_out(&nobody(&Language::new("en")))));
        };
        let session = door.seal("session", live, engine.wall().plus_ms(SESSION_MS));
        let mut response = onward(StatusCode::SEE_OTHER, "/app")?;
        response.headers_mut().insert(header::SET_COOKIE, cookie(&public, &session, SESSION_MS / 1_000));
        Ok(response)
    };
    finish(&parts, answer.await)
}

async fn sign_out(State(public): State<Public>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        read_form(&public, &parts, body).await?;
        let mut response = onward(StatusCode::SEE_OTHER, "/app")?;
        response.headers_mut().insert(header::SET_COOKIE, cookie(&public, "", 0));
        Ok(response)
    };
    finish(&parts, answer.await)
}

/// Which side of the workspace is looked at.
#[derive(Clone, Copy)]
struct Side {
    space: Space,
}

impl Side {
    fn of(public: &Public, parts: &axum::http::request::Parts) -> Option<Self> {
        let live = signed_in(public, &parts.headers)?;
        let test = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "side=test"));
        Some(Self { space: if test { live.test_side() } else { live } })
    }

    /// An address on the same side.
    fn at(self, path: &str) -> String {
        format!("{path}{}", if self.space.is_test() { "?side=test" } else { "" })
    }
}

/// Answers whoever is signed in; others are told how to come in.
async fn with_side(public: &Public, request: Request, answer: impl AsyncFnOnce(Side, &axum::http::request::Parts, axum::body::Body) -> Answer) -> Response {
    let (parts, body) = request.into_parts();
    match Side::of(public, &parts) {
        Some(side) => {
            let answer = answer(side, &parts, body).await;
            finish(&parts, answer)
        }
        None => page(StatusCode::UNAUTHORIZED, message::signed_out(&nobody(&Language::accepted(text(&parts.headers, &header::ACCEPT_LANGUAGE))))),
    }
}

// ---------------------------------------------------------------- the desk

/// What the desk shows.
struct Desk {
    company: String,
    funnel: Funnel,
    review: list::Listing<view::Reward>,
    failed: list::Listing<view::Reward>,
    off: Vec<Endpoint>,
    campaigns: Vec<Campaign>,
    leads: Vec<view::Lead>,
    /// What came in and changed nothing, newest first.
    unchanged: Vec<SignalView>,
}

impl Desk {
    async fn read(tx: &mut Tx<'_>, shared: &Shared, space: Space, now: Timestamp) -> Result<Self> {
        let rows = list::Page { limit: ROWS, ..Default::default() };
        let rewards = |state| RewardFilter { state: Some(state), ..Default::default() };
        let since = statistics::Scope { from: Some(now.plus_ms(-FUNNEL_DAYS * DAY_MS)), ..Default::default() };
        let mut unchanged = Vec::new();
        for outcome in [Outcome::Ignored, Outcome::Refused] {
            unchanged.extend(signal::list(tx, space, &SignalFilter { outcome: Some(outcome), ..Default::default() }, &rows).await?.data);
        }
        unchanged.sort_by_key(|signal| std::cmp::Reverse(signal.received_at));
        unchanged.truncate(ROWS);
        Ok(Self {
            company: workspace::of_space(tx, space).await?.name,
            funnel: statistics::funnel(tx, space, &since).await?,
            review: reward::list(tx, shared, space, &rewards(RewardState::InReview), &rows).await?,
            failed: reward::list(tx, shared, space, &rewards(RewardState::Failed), &rows).await?,
            off: endpoint::list(tx, space, &EndpointFilter { status: Some(EndpointStatus::Disabled), ..Default::default() }, &rows).await?.data,
            campaigns: campaign::list(tx, shared, space, &Default::default(), &list::Page::default()).await?.data,
            leads: participant::list_leads(tx, shared, space, &PeopleFilter::default(), &rows).await?.data,
            unchanged,
        })
    }
}

async fn desk_page(State(public): State<Public>, request: Request) -> Response {
    with_side(&public, request, async |side, _, _| {
        let (shared, space, now) = (public.engine().shared_arc(), side.space, public.engine().now(side.space));
        let desk = public.engine().read(move |tx| Box::pin(async move { Desk::read(tx, &shared, space, now).await })).await?;
        Ok(page(StatusCode::OK, desk_html(side, &desk, now)))
    })
    .await
}

fn frame(side: Side, company: &str, title: &str, body: Markup) -> Markup {
    let language = Language::new("en");
    let site = Site { company, home: Some("/app"), terms: None, language: &language, test: side.space.is_test() };
    let corner = html! {
        nav.bar aria-label="Workspace" {
            @if side.space.is_test() { a.p-btn.small href="/app" { "Live data" } } @else { a.p-btn.small href="/app?side=test" { "Test data" } }
            a.p-btn.small href="/docs" { "API" }
            form method="post" action="/app/sign-out" { button.p-btn.small { "Sign out" } }
        }
    };
    Page { site: &site, title: title.to_owned(), description: None, corner: Some(corner), body }.html()
}

fn desk_html(side: Side, desk: &Desk, now: Timestamp) -> Markup {
    let language = Language::new("en");
    let funnel = &desk.funnel;
    let steps = [("Visits", funnel.visits), ("Leads", funnel.leads), ("Qualified", funnel.qualified), ("Rewarded", funnel.rewarded)];
    let is_calm = desk.review.data.is_empty() && desk.failed.data.is_empty() && desk.off.is_empty();
    let body = html! {
        h1.desk { "Your referral program" }
        section.panel aria-labelledby="needs" {
            h2 #needs { "Needs you" }
            @if is_calm {
                p.none { (icon(Icon::Check)) span { "Nothing waits for you: no reward is in review or has failed, and every endpoint is on." } }
            }
            @for reward in &desk.review.data { (reward_row(side, &language, reward, true)) }
            @if desk.review.next.is_some() { p.note.after { "More wait in " code { "GET /v1/rewards?state=in_review" } "." } }
            @for reward in &desk.failed.data { (reward_row(side, &language, reward, false)) }
            @for endpoint in &desk.off {
                article.fact {
                    div { b { "A webhook endpoint is off" } span.note { (endpoint.url) } }
                    p.note { "It failed for too long, or somebody switched it off. Mend the receiver, then " code { "PATCH /v1/endpoints/" (endpoint.id) } " with " code { "{\"enabled\": true}" } " and replay what it missed." }
                }
            }
        }
        section.panel aria-labelledby="funnel" {
            h2 #funnel { "The last " (FUNNEL_DAYS) " days" }
            dl.funnel {
                @for (name, count) in steps { div { dt { (name) } dd.big { (language.number(count)) } } }
            }
        }
        div.two.even {
            section.panel aria-labelledby="leads" {
                h2 #leads { "Newest leads" }
                @if desk.leads.is_empty() { p.note { "Nobody has been referred yet. A lead appears here as soon as somebody joins by a referral link." } }
                @for lead in &desk.leads {
                    article.fact {
                        div { a href=(side.at(&format!("/app/leads/{}", lead.id))) { (named(&lead.name, &lead.email)) } (status(lead.status)) }
                        p.note {
                            "by " (named(&lead.referrer.name, &lead.referrer.email)) ", " (language.date(lead.created_at, now)) ", " (lead.campaign.name)
                            @if let Some(why) = &lead.status_reason { br; (why.sentence) }
                        }
                    }
                }
            }
            section.panel aria-labelledby="unchanged" {
                h2 #unchanged { "Came in and changed nothing" }
                @if desk.unchanged.is_empty() { p.note { "Every signal so far has been counted." } }
                @for signal in &desk.unchanged {
                    article.fact {
                        div { b { (signal.kind) } span.note { (language.date(signal.received_at, now)) " from " (signal.source) } }
                        p.note {
                            (signal.why.sentence)
                            @if let Some(check) = signal.checks.iter().find(|check| check.failed()) { " Expected " (check.expected) "; found " (check.found) "." }
                            @if !signal.why.next_step.is_empty() { br; b { (signal.why.next_step) } }
                            @if let Some(lead) = signal.lead_id { " " a href=(side.at(&format!("/app/leads/{lead}"))) { "The lead" } }
                        }
                    }
                }
            }
        }
        section.panel aria-labelledby="campaigns" {
            h2 #campaigns { "Campaigns" }
            @if desk.campaigns.is_empty() { p.note { "There is no campaign yet. " code { "POST /v1/campaigns" } " makes one; the README walks through it." } }
            @for campaign in &desk.campaigns {
                article.fact {
                    div { b { (campaign.settings().name) } span.note { (campaign.status.as_str()) } }
                    p.note { "Sign-up of referrers: " a href=(format!("/join/{}", campaign.code)) { "/join/" (campaign.code) } ", version " (campaign.version) }
                }
            }
        }
    };
    frame(side, &desk.company, "Home", body)
}

fn named<'a>(name: &'a str, email: &'a str) -> &'a str {
    if name.is_empty() { email } else { name }
}

fn status(status: LeadStatus) -> Markup {
    let (sign, won) = match status {
        LeadStatus::Qualified => (Icon::Check, true),
        LeadStatus::Pending => (Icon::Clock, false),
        LeadStatus::Rejected => (Icon::Pause, false),
    };
    html! { span.st.won[won] { (icon(sign)) (status.as_str()) } }
}

/// What a reward is worth, in words.
fn worth(language: &Language, reward: &view::Reward) -> String {
    match (&reward.amount, &reward.coupon, reward.units) {
        (Some(amount), ..) => language.money(amount),
        (None, Some(coupon), _) => format!("coupon {coupon}"),
        (None, None, Some(units)) => format!("{} {}", language.number(units), reward.metric.as_deref().unwrap_or("units")),
        (None, None, None) => reward.kind.clone(),
    }
}

fn reward_row(side: Side, language: &Language, reward: &view::Reward, asks: bool) -> Markup {
    let person = named(&reward.beneficiary.name, &reward.beneficiary.email);
    html! {
        article.fact {
            div { a href=(side.at(&format!("/app/leads/{}", reward.lead_id))) { (worth(language, reward)) " for " (person) } span.note { (reward.name) ", " (reward.campaign.name) } }
            p.note { (reward.why.sentence) @if let Some(note) = &reward.note { " “" (note) "”" } @if !reward.why.next_step.is_empty() { " " b { (reward.why.next_step) } } }
            @if asks {
                form.bar method="post" action=(side.at(&format!("/app/rewards/{}", reward.id))) {
                    button.p-btn.small name="action" value="approve" aria-label={ "Approve " (worth(language, reward)) " for " (person) } { "Approve" }
                    button.p-btn.small name="action" value="reject" aria-label={ "Reject " (worth(language, reward)) " for " (person) } { "Reject" }
                }
            }
        }
    }
}

/// Approves or rejects. What somebody else has decided meanwhile stays decided: the desk shows it.
async fn decide(State(public): State<Public>, request: Request) -> Response {
    with_side(&public, request, async |side, parts, body| {
        let input = read_form(&public, parts, body).await?;
        let reward: RewardId = segment(&parts.uri, 2).parse().map_err(|_| Trouble::Nowhere)?;
        let action = match input.get("action") {
            "approve" => RewardAction::Approve,
            "reject" => RewardAction::Reject,
            _ => return Err(Trouble::Unreadable(StatusCode::BAD_REQUEST)),
        };
        let context = public.engine().context(side.space, ACTOR, SOURCE);
        match public.engine().run(context, Decide { reward, action, note: None, amount_minor: None }).await {
            Ok(_) | Err(crate::engine::Error::Conflict { .. }) => onward(StatusCode::SEE_OTHER, &side.at("/app")),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

// ---------------------------------------------------------------- a lead

async fn lead_page(State(public): State<Public>, request: Request) -> Response {
    with_side(&public, request, async |side, parts, _| {
        let id: LeadId = segment(&parts.uri, 2).parse().map_err(|_| Trouble::Nowhere)?;
        let (shared, space, now) = (public.engine().shared_arc(), side.space, public.engine().now(side.space));
        let found = public.engine().read(move |tx| {
            Box::pin(async move { Ok((qualify::explanation(tx, &shared, space, id, now).await?, workspace::of_space(tx, space).await?.name)) })
        });
        let (explanation, company) = found.await?;
        Ok(page(StatusCode::OK, lead_html(side, &company, &explanation, now)))
    })
    .await
}

fn lead_html(side: Side, company: &str, explanation: &Explanation, now: Timestamp) -> Markup {
    let language = Language::new("en");
    let lead = &explanation.lead;
    let name = named(&lead.name, &lead.email);
    let body = html! {
        p.crumb { a href=(side.at("/app")) { "Home" } }
        h1.desk { (name) }
        p.sub { (lead.email) ", referred by " (named(&lead.referrer.name, &lead.referrer.email)) " in " (lead.campaign.name) ", " (language.date(lead.created_at, now)) }
        section.panel aria-labelledby="why" {
            h2 #why { (explanation.verdict) }
            p.note {
                "Since " (language.date(explanation.since, now))
                @if let Some(by) = &explanation.decided_by { ", decided by " (by.actor) " (" (by.source) ")" }
                ", by version " (explanation.version) " of the campaign."
            }
            @if !explanation.next_step.is_empty() { p.after { b { (explanation.next_step) } } }
            ul.checks {
                @for check in &explanation.checks {
                    @let (sign, word) = match check.passed { Some(true) => (Icon::Check, "Met"), Some(false) => (Icon::Alert, "Not met"), None => (Icon::Clock, "Not known yet") };
                    li.open[check.passed == Some(false)] {
                        (icon(sign)) span.sr { (word) ": " }
                        div {
                            b { (check.reason.sentence()) }
                            p.note { @if let Some(about) = &check.about { (about) ". " } "Expected " (check.expected) "; found " (check.found) "." @if let Some(miss) = &check.miss { " " b { (miss) } } }
                        }
                    }
                }
            }
        }
        section.panel aria-labelledby="rewards" {
            h2 #rewards { "Rewards" }
            @if explanation.rewards.is_empty() { p.note { "None has fallen due for this lead." } }
            @for reward in &explanation.rewards {
                article.fact {
                    div { b { (worth(&language, reward)) " for " (named(&reward.beneficiary.name, &reward.beneficiary.email)) } span.st { (reward.state.as_str().replace('_', " ")) } }
                    p.note { (reward.name) ". " (reward.why.sentence) " " (reward.why.next_step) }
                }
            }
        }
        section.panel aria-labelledby="told" {
            h2 #told { "Everything that was told about this lead" }
            @for signal in &explanation.signals {
                article.fact {
                    div { b { (signal.kind) } span.note { (signal.outcome.as_str()) ", " (language.date(signal.received_at, now)) ", " (signal.actor) " by " (signal.source) } }
                    p.note { (signal.why.sentence) }
                }
            }
        }
    };
    frame(side, company, name, body)
}
