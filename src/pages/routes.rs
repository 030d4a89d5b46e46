//! The addresses of the public pages.
//!
//! | address | what it is |
//! |---|---|
//! | `GET /{code}` | a referral link: the visit is recorded, then the landing page, or on to the company |
//! | `POST /{code}`, `GET /{code}/thanks` | the landing page's form, and what follows it |
//! | `GET`, `POST /join/{campaign}` | the sign-up of referrers |
//! | `GET /me/{token}` | a referrer's own page |
//! | `GET /{code}/qr-code`, `/download-qr-code`, `/qr.png`, `/qr.svg` | the link as a QR code |
//! | `GET /{code}/socials/{social}` | on to where the link is shared |
//! | `GET /assets/…` | stylesheet, script, fonts |
//! | `/app…` | the desk; see [`admin`] |

use super::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY_FORM, REFERRER_POLICY_SECRET, admin, assets,
    form::{self, Form, Guard, Input, Mistake},
    join,
    landing::{self, Closed, Landing, Thanks, fill_offer},
    layout::Site,
    message,
    portal::{self, Offers},
    qr::{self, Qr},
    referrer::{Referrer, Standing, resting},
    share::{self, Share, Social},
    sign::{PageAddress, Signer},
    visitor::{self, Visitor},
    words::{self, Language, fill},
};
use crate::{
    engine::{
        Engine, Error, Space,
        campaign::{self, Campaign},
        participant::{self, Enrol, Join, Joined, Participant, ReferrerKey},
        visit::{Link, Visit},
        work::Context,
        workspace,
    },
    http::{App, ClientIp, Problem, context, metrics, server::wrap_pages},
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use goodword_core::{
    campaign::CampaignStatus,
    decide::Outcome,
    explain::Reason,
    ids::{CampaignId, ReferrerId, VisitorId},
    text::Code,
    time::Timestamp,
};
use maud::Markup;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tower::ServiceExt;
use uuid::Uuid;

/// The longest form: 30 answers of 1,000 characters, as browsers encode them.
const FORM_BYTES_MAX: usize = 384 * 1024;
const FORM_DEADLINE: Duration = Duration::from_secs(30);
/// Where somebody joined, in events and statistics.
const SOURCE_LEAD: &str = "referred";
const SOURCE_REFERRER: &str = "direct";
const ACTOR: &str = "visitor";

/// What the pages work with. Clones share it.
#[derive(Clone)]
pub(super) struct Public {
    app: App,
    keys: Arc<Keys>,
}

struct Keys {
    guard: Guard,
    visitor: Signer,
    page: PageAddress,
    /// Host and port of the public address.
    host: String,
    /// Counts the links that lead straight on.
    straight_on: Arc<metrics::Route>,
    secure: bool,
}

impl Public {
    fn new(app: &App) -> Self {
        let (secret, url) = (app.engine.secret(), app.config.public_url());
        let host = url.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default().to_owned();
        let keys = Keys {
            guard: Guard::new(secret),
            visitor: Signer::new(secret, "goodword visitor 1"),
            page: PageAddress::new(secret),
            host,
            straight_on: app.metrics.route(&Method::GET, "/{code}"),
            secure: app.config.is_https(),
        };
        Self { app: app.clone(), keys: Arc::new(keys) }
    }

    /// Whether browsers come by HTTPS.
    pub(super) fn is_secure(&self) -> bool {
        self.keys.secure
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.app.engine
    }
}

/// All addresses of the public pages.
pub fn router(app: &App) -> Router<App> {
    let public = Public::new(app);
    let landing = wrap_pages(Router::new().fallback(landing_page).with_state(public.clone()), app).with_state::<()>(app.clone());
    let pages = Router::new()
        .route("/", get(running))
        .route("/{code}", axum::routing::post(landing_form))
        .route("/{code}/thanks", get(thanks_page))
        .route("/{code}/qr-code", get(qr_png))
        .route("/{code}/qr.png", get(qr_png))
        .route("/{code}/qr.svg", get(qr_svg))
        .route("/{code}/download-qr-code", get(qr_download))
        .route("/{code}/socials/{social}", get(social))
        .route("/join/{campaign}", get(join_page).post(join_form))
        .route("/me/{token}", get(referrer_page))
        .route("/assets/{file}", get(asset))
        .merge(admin::router())
        .with_state(public.clone());
    // Links that lead straight to the company carry nothing that a page needs.
    let links = Router::new().route("/{code}", get(move |state: State<Public>, request: Request| link(state, landing.clone(), request))).with_state(public);
    wrap_pages(pages, app).merge(links)
}

/// The address of a referrer's own page, for those who may hand it out.
pub fn page_address(engine: &Engine, space: Space, id: ReferrerId) -> String {
    format!("{}{}", engine.shared().public_url, PageAddress::new(engine.secret()).path(space.number(), id))
}

async fn running(headers: HeaderMap) -> Response {
    let language = Language::accepted(text(&headers, &header::ACCEPT_LANGUAGE));
    page(StatusCode::OK, message::running(&nobody(&language)))
}

/// What is nowhere, in the language of the browser.
pub fn nowhere(headers: &HeaderMap) -> Response {
    let language = Language::accepted(text(headers, &header::ACCEPT_LANGUAGE));
    page(StatusCode::NOT_FOUND, message::not_found(&nobody(&language)))
}

// ---------------------------------------------------------------- answers

/// Why there is no page.
pub(super) enum Trouble {
    Nowhere,
    Failed(Error),
    /// The form was not sent from our page, or cannot be read.
    Unreadable(StatusCode),
    TooMany {
        retry_after_s: u64,
    },
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Trouble::Nowhere,
            error => Trouble::Failed(error),
        }
    }
}

pub(super) type Answer = Result<Response, Trouble>;

pub(super) fn finish(parts: &Parts, answer: Answer) -> Response {
    let language = Language::accepted(text(&parts.headers, &header::ACCEPT_LANGUAGE));
    let site = nobody(&language);
    match answer {
        Ok(response) => response,
        Err(Trouble::Nowhere) => page(StatusCode::NOT_FOUND, message::not_found(&site)),
        Err(Trouble::Failed(error)) => {
            tracing::error!(%error, "a page failed");
            let id = context::request_id();
            page(StatusCode::INTERNAL_SERVER_ERROR, message::failed(&site, id.as_ref().map(|id| id.as_str())))
        }
        Err(Trouble::Unreadable(status)) => page(status, message::unreadable(&site, parts.uri.path())),
        Err(Trouble::TooMany { retry_after_s }) => {
            let mut response = page(StatusCode::TOO_MANY_REQUESTS, message::slow_down(&site, retry_after_s));
            response.headers_mut().insert(header::RETRY_AFTER, retry_after_s.into());
            response
        }
    }
}

/// The site of pages that belong to no campaign.
pub(super) const fn nobody(language: &Language) -> Site<'_> {
    Site { company: "", home: None, terms: None, language, test: false }
}

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

pub(super) fn page(status: StatusCode, markup: Markup) -> Response {
    page_with(status, REFERRER_POLICY_FORM, markup)
}

fn page_with(status: StatusCode, referrer_policy: &'static str, markup: Markup) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, referrer_policy),
        // Pages hold tokens and people's own numbers.
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (ROBOTS, "noindex"),
    ];
    (status, headers, markup.into_string()).into_response()
}

/// On to somewhere else; 303 after a form, so that reloading sends nothing twice.
pub(super) fn onward(status: StatusCode, address: &str) -> Answer {
    let location = HeaderValue::try_from(address).map_err(|_| Trouble::Nowhere)?;
    let mut response = status.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn set_cookie(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

// ---------------------------------------------------------------- requests

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The n-th part of the path.
pub(super) fn segment(uri: &Uri, n: usize) -> &str {
    uri.path().split('/').nth(n + 1).unwrap_or_default()
}

async fn find_link(public: &Public, code: &str) -> Result<Arc<Link>, Trouble> {
    let code: Code = code.parse().map_err(|_| Trouble::Nowhere)?;
    public.engine().link(&code).await?.ok_or(Trouble::Nowhere)
}

/// The link of a person, where a page is about one.
async fn personal_link(public: &Public, uri: &Uri) -> Result<(Arc<Link>, Uuid), Trouble> {
    let link = find_link(public, segment(uri, 0)).await?;
    let participant = link.participant.ok_or(Trouble::Nowhere)?;
    Ok((link, participant))
}

fn client(public: &Public, parts: &Parts) -> IpAddr {
    ClientIp::of(&parts.extensions, &parts.headers, &public.app.config.trusted_proxies).0
}

/// The network address as far as it may be kept.
fn kept_ip(public: &Public, parts: &Parts) -> Option<IpAddr> {
    (public.app.config.visit_ip_days > 0).then(|| client(public, parts))
}

fn known_visitor(public: &Public, headers: &HeaderMap) -> Option<Visitor> {
    headers.get_all(header::COOKIE).iter().find_map(|cookies| Visitor::read(&public.keys.visitor, cookies.to_str().ok()?))
}

fn visitor_cookie(public: &Public, visitor: &Visitor) -> Option<HeaderValue> {
    HeaderValue::try_from(visitor.write(&public.keys.visitor, public.keys.secure)).ok()
}

fn new_visitor() -> Visitor {
    Visitor::new(VisitorId::from_uuid(Uuid::now_v7()))
}

/// Records that a link was used. Returns the visitor's cookie.
///
/// HEAD is no visit: nobody sees anything. Programs are recorded as such and get no cookie.
async fn record(public: &Public, parts: &Parts, link: &Link, participant: Uuid) -> Result<Option<HeaderValue>, Trouble> {
    if parts.method == Method::HEAD {
        return Ok(None);
    }
    let (device, bot) = visitor::device(text(&parts.headers, &header::USER_AGENT).unwrap_or_default());
    let (at, referrer) = (public.engine().now(link.space), ReferrerId::from_uuid(participant));
    let visitor = (!bot).then(|| {
        let mut visitor = known_visitor(public, &parts.headers).unwrap_or_else(new_visitor);
        visitor.touch(link.campaign, visitor::Touch { referrer, at });
        visitor
    });
    let own_host = text(&parts.headers, &header::HOST);
    let referring_host = text(&parts.headers, &header::REFERER).and_then(|referer| visitor::referring_host(referer, own_host));
    let visit = Visit {
        space: link.space,
        campaign: link.campaign,
        referrer,
        visitor: visitor.as_ref().map(|visitor| visitor.id),
        at,
        referring_host: referring_host.map(Arc::from),
        device,
        bot,
        source: parts.uri.query().map_or(share::LINK, share::way).into(),
        ip: kept_ip(public, parts),
    };
    public.engine().recorder().record(visit).await?;
    Ok(visitor.and_then(|visitor| visitor_cookie(public, &visitor)))
}

/// Reads a form that a person has sent from one of our pages.
pub(super) async fn read_form(public: &Public, parts: &Parts, body: Body) -> Result<Input, Trouble> {
    let headers = &parts.headers;
    let hosts = [public.keys.host.as_str(), text(headers, &header::HOST).unwrap_or_default()];
    let fetch_site = text(headers, &HeaderName::from_static("sec-fetch-site"));
    if !form::same_site(fetch_site, text(headers, &header::ORIGIN), &hosts) {
        return Err(Trouble::Unreadable(StatusCode::FORBIDDEN));
    }
    if let Some(retry_after_s) = public.app.limits.forms.take(client(public, parts).into()).and_then(|quota| quota.retry_after_s) {
        return Err(Trouble::TooMany { retry_after_s });
    }
    let body = tokio::time::timeout(FORM_DEADLINE, axum::body::to_bytes(body, FORM_BYTES_MAX)).await;
    match body {
        Ok(Ok(bytes)) => Ok(Input::parse(&bytes)),
        Ok(Err(_)) => Err(Trouble::Unreadable(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => Err(Trouble::Unreadable(StatusCode::REQUEST_TIMEOUT)),
    }
}

// ---------------------------------------------------------------- what pages are about

/// A campaign as its pages show it.
struct Stage {
    space: Space,
    campaign: Campaign,
    company: String,
    language: Language,
    offers: Offers,
    now: Timestamp,
}

impl Stage {
    fn new(public: &Public, space: Space, campaign: Campaign, company: String) -> Self {
        let language = Language::new(&campaign.settings().language);
        let offers = portal::offers(&campaign.configuration, &language);
        Self { space, offers, language, company, now: public.engine().now(space), campaign }
    }

    fn site(&self) -> Site<'_> {
        let settings = self.campaign.settings();
        Site {
            company: &self.company,
            home: settings.link.destination.as_ref().map(|url| url.as_str()),
            terms: settings.words.terms.as_ref().map(|url| url.as_str()),
            language: &self.language,
            test: self.space.is_test(),
        }
    }

    /// Why nobody can join now, if so.
    fn closed(&self) -> Option<Closed> {
        let settings = self.campaign.settings();
        match self.campaign.status {
            CampaignStatus::Draft => Some(Closed::NotStarted),
            CampaignStatus::Paused => Some(Closed::Paused),
            CampaignStatus::Ended => Some(Closed::Ended),
            CampaignStatus::Live if settings.ends_at.is_some_and(|end| self.now >= end) => Some(Closed::Ended),
            CampaignStatus::Live if settings.starts_at.is_some_and(|start| self.now < start) => Some(Closed::NotStarted),
            CampaignStatus::Live => None,
        }
    }

    /// The same, for the leads of a referrer.
    fn closed_for(&self, referrer: &Participant) -> Option<Closed> {
        let limit = self.campaign.settings().limits.leads_per_referrer;
        let used_up = limit.is_some_and(|limit| referrer.leads >= i64::from(limit));
        self.closed().or(referrer.suspended_at.map(|_| Closed::Ended)).or(used_up.then_some(Closed::UsedUp))
    }

    fn closed_page(&self, why: Closed) -> Response {
        let status = if why == Closed::Ended { StatusCode::GONE } else { StatusCode::OK };
        page(status, landing::closed(&self.site(), why))
    }

    fn context(&self, public: &Public, source: &str) -> Context {
        public.engine().context(self.space, ACTOR, source)
    }
}

async fn stage(public: &Public, space: Space, id: CampaignId) -> Result<Stage, Trouble> {
    let shared = public.engine().shared_arc();
    let read = public.engine().read(move |tx| {
        Box::pin(async move {
            let campaign = campaign::get(tx, &shared, space, id).await?;
            Ok((campaign, workspace::of_space(tx, space).await?.name))
        })
    });
    let (campaign, company) = read.await?;
    Ok(Stage::new(public, space, campaign, company))
}

/// A campaign with the person whose link was used.
async fn stage_of(public: &Public, link: &Link, participant: Uuid) -> Result<(Stage, Participant), Trouble> {
    let (shared, space, id) = (public.engine().shared_arc(), link.space, link.campaign);
    let read = public.engine().read(move |tx| {
        Box::pin(async move {
            let campaign = campaign::get(tx, &shared, space, id).await?;
            let referrer = participant::find(tx, space, participant).await?.ok_or(Error::NotFound { what: "referrer" })?;
            Ok((campaign, workspace::of_space(tx, space).await?.name, referrer))
        })
    });
    let (campaign, company, referrer) = read.await?;
    Ok((Stage::new(public, space, campaign, company), referrer))
}

// ---------------------------------------------------------------- links and landing pages

/// A referral link. Where it leads straight to the company this is all that happens.
async fn link(State(public): State<Public>, landing: Router, request: Request) -> Response {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    // A visit is told of, too.
    if let Err(problem) = public.app.refuse_own_delivery(&parts.headers) {
        return problem.into_response();
    }
    match straight_on(&public, &parts).await {
        Ok(Some(response)) => {
            public.keys.straight_on.record(response.status(), start.elapsed());
            response
        }
        Ok(None) => {
            let Ok(response) = landing.oneshot(Request::from_parts(parts, body)).await;
            response
        }
        // The API's own root is no code.
        Err(Trouble::Nowhere) if parts.uri.path() == "/v1" => Problem::not_found("address").into_response(),
        Err(trouble) => finish(&parts, Err(trouble)),
    }
}

async fn straight_on(public: &Public, parts: &Parts) -> Result<Option<Response>, Trouble> {
    let link = find_link(public, segment(&parts.uri, 0)).await?;
    let (destination, participant) = match (link.redirect(public.engine().now(link.space)), link.participant) {
        (Some(destination), Some(participant)) => (destination, participant),
        // A campaign's own code is the way to its sign-up.
        (_, None) => return onward(StatusCode::FOUND, &format!("/join/{}", link.code)).map(Some),
        (None, Some(_)) => return Ok(None),
    };
    let cookie = record(public, parts, &link, participant).await?;
    let mut response = onward(StatusCode::FOUND, destination)?;
    set_cookie(&mut response, cookie);
    Ok(Some(response))
}

async fn landing_page(State(public): State<Public>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let answer = async {
        let (link, participant) = personal_link(&public, &parts.uri).await?;
        let cookie = record(&public, &parts, &link, participant).await?;
        let (stage, referrer) = stage_of(&public, &link, participant).await?;
        let mut response = match stage.closed_for(&referrer) {
            Some(why) => stage.closed_page(why),
            None => show_landing(&public, &stage, &referrer, &Input::default(), &[], false),
        };
        set_cookie(&mut response, cookie);
        Ok(response)
    };
    finish(&parts, answer.await)
}

fn show_landing(public: &Public, stage: &Stage, referrer: &Participant, input: &Input, mistakes: &[Mistake], again: bool) -> Response {
    let (site, settings) = (stage.site(), stage.campaign.settings());
    let (action, now) = (format!("/{}", referrer.code), public.engine().wall());
    let name = words::first_name(&referrer.first_name);
    let token = public.keys.guard.token_again(&action, input, now);
    let form = Form {
        action: &action,
        token: &token,
        fields: &settings.lead_fields,
        button: Landing::button(&site, &settings.words, stage.offers.gives.is_some()),
        privacy: Landing::privacy(&site, name.as_deref()),
        input,
        mistakes,
        again,
    };
    let status = if form.has_trouble() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let landing = Landing { site, words: &settings.words, referrer: name.as_deref(), code: &referrer.code, reward: stage.offers.gives.as_deref(), form };
    page(status, landing.html())
}

async fn landing_form(State(public): State<Public>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        let (link, participant) = personal_link(&public, &parts.uri).await?;
        if let Some(destination) = link.redirect(public.engine().now(link.space)) {
            return onward(StatusCode::SEE_OTHER, destination); // there is no form on this link any more
        }
        let input = read_form(&public, &parts, body).await?;
        let (stage, referrer) = stage_of(&public, &link, participant).await?;
        if let Some(why) = stage.closed_for(&referrer) {
            return Ok(stage.closed_page(why));
        }
        if public.keys.guard.check(&format!("/{}", referrer.code), &input, public.engine().wall()).is_err() {
            return Ok(show_landing(&public, &stage, &referrer, &input, &[], true));
        }
        let person = match form::read(&input, &stage.campaign.settings().lead_fields, &stage.site()) {
            Ok(person) => person,
            Err(mistakes) => return Ok(show_landing(&public, &stage, &referrer, &input, &mistakes, false)),
        };
        let joined = become_lead(&public, &parts, &stage, &referrer, person).await?;
        match joined.outcome {
            // Somebody who sends the form twice is thanked twice.
            Outcome::Applied | Outcome::Unchanged => {
                let code = joined.lead.as_ref().map_or(referrer.code.as_str(), |lead| lead.referrer.code.as_str());
                onward(StatusCode::SEE_OTHER, &format!("/{code}/thanks"))
            }
            Outcome::Ignored | Outcome::Refused | Outcome::Recorded => {
                let why = match joined.reason {
                    Reason::NotSelf => Closed::OwnLink,
                    Reason::FirstReferrerKept | Reason::NotYetInCampaign => Closed::Already,
                    Reason::ReferralLimit => Closed::UsedUp,
                    _ => stage.closed().unwrap_or(Closed::Ended),
                };
                Ok(page(StatusCode::CONFLICT, landing::closed(&stage.site(), why)))
            }
        }
    };
    let answer = answer.await;
    finish(&parts, answer)
}

/// Makes a lead of whoever the campaign's rule of attribution names.
async fn become_lead(public: &Public, parts: &Parts, stage: &Stage, here: &Participant, person: form::Person) -> Result<Joined, Trouble> {
    let visitor = known_visitor(public, &parts.headers);
    let credit = Visitor::credit(visitor.as_ref(), stage.campaign.id, stage.campaign.settings().attribution, stage.now, here.referrer());
    let person = participant::Person {
        email: person.email,
        first_name: person.first_name.to_string(),
        last_name: String::new(),
        external_id: None,
        fields: person.fields,
        ip: kept_ip(public, parts).map(|ip| ip.to_string()),
        visitor: visitor.map(|visitor| visitor.id),
    };
    let last = credit.len().saturating_sub(1);
    for (i, touch) in credit.into_iter().enumerate() {
        let join = Join { campaign: Some(stage.campaign.id), referrer: ReferrerKey::Id(touch.referrer), person: person.clone(), link_used_at: Some(touch.at) };
        let joined = public.engine().run(stage.context(public, SOURCE_LEAD), join).await?;
        let cannot = matches!(joined.reason, Reason::ReferrerKnown | Reason::ReferrerActive | Reason::ReferralLimit);
        if i == last || joined.outcome != Outcome::Refused || !cannot {
            return Ok(joined);
        }
    }
    Err(Trouble::Nowhere)
}

async fn thanks_page(State(public): State<Public>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let answer = async {
        let (link, participant) = personal_link(&public, &parts.uri).await?;
        let (stage, referrer) = stage_of(&public, &link, participant).await?;
        let (settings, name) = (stage.campaign.settings(), words::first_name(&referrer.first_name));
        let destination = settings.link.destination.as_ref().map(|url| url.with_parameter(&settings.link.parameter, &referrer.code));
        let thanks = Thanks {
            site: stage.site(),
            words: &settings.words,
            referrer: name.as_deref(),
            reward: stage.offers.gives.as_deref(),
            destination: destination.as_deref(),
        };
        Ok(page(StatusCode::OK, thanks.html()))
    };
    finish(&parts, answer.await)
}

// ---------------------------------------------------------------- sign-up of referrers

/// The campaign of a sign-up page.
async fn stage_to_join(public: &Public, uri: &Uri) -> Result<(Stage, String), Trouble> {
    let link = find_link(public, segment(uri, 1)).await?;
    if link.participant.is_some() {
        return Err(Trouble::Nowhere);
    }
    Ok((stage(public, link.space, link.campaign).await?, format!("/join/{}", link.code)))
}

/// Why nobody can sign up now, if so.
fn closed_to_referrers(stage: &Stage) -> Option<Response> {
    match stage.closed() {
        Some(why) => Some(stage.closed_page(why)),
        None if !stage.campaign.settings().open_enrolment => Some(page(StatusCode::OK, join::closed(&stage.site()))),
        None => None,
    }
}

async fn join_page(State(public): State<Public>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let answer = async {
        let (stage, action) = stage_to_join(&public, &parts.uri).await?;
        Ok(closed_to_referrers(&stage).unwrap_or_else(|| show_join(&public, &stage, &action, &Input::default(), &[], false)))
    };
    finish(&parts, answer.await)
}

fn show_join(public: &Public, stage: &Stage, action: &str, input: &Input, mistakes: &[Mistake], again: bool) -> Response {
    let (site, settings) = (stage.site(), stage.campaign.settings());
    let token = public.keys.guard.token_again(action, input, public.engine().wall());
    let (button, privacy) = (join::Join::button(&site), join::Join::privacy(&site));
    let form = Form { action, token: &token, fields: &settings.referrer_fields, button, privacy, input, mistakes, again };
    let status = if form.has_trouble() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let join = join::Join { site, words: &settings.words, gives: stage.offers.gives.as_deref(), gets: stage.offers.gets.as_deref(), form };
    page(status, join.html())
}

async fn join_form(State(public): State<Public>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        let input = read_form(&public, &parts, body).await?;
        let (stage, action) = stage_to_join(&public, &parts.uri).await?;
        if let Some(closed) = closed_to_referrers(&stage) {
            return Ok(closed);
        }
        if public.keys.guard.check(&action, &input, public.engine().wall()).is_err() {
            return Ok(show_join(&public, &stage, &action, &input, &[], true));
        }
        let person = match form::read(&input, &stage.campaign.settings().referrer_fields, &stage.site()) {
            Ok(person) => person,
            Err(mistakes) => return Ok(show_join(&public, &stage, &action, &input, &mistakes, false)),
        };
        let taken = || Ok(page(StatusCode::CONFLICT, join::taken(&stage.site())));
        // Whoever is in the campaign already, also as a lead: a form proves nothing about
        // an address, so it neither changes the person nor shows anything of them.
        let (space, campaign, email) = (stage.space, stage.campaign.clone(), person.email.clone());
        let known = public.engine().read(move |tx| Box::pin(async move { participant::by_email(tx, space, &campaign, &email).await }));
        if known.await?.is_some() {
            return taken();
        }
        let visitor = known_visitor(&public, &parts.headers).unwrap_or_else(new_visitor);
        let enrol = Enrol {
            campaign: stage.campaign.id,
            person: participant::Person {
                email: person.email,
                first_name: person.first_name.to_string(),
                last_name: String::new(),
                external_id: None,
                fields: person.fields,
                ip: kept_ip(&public, &parts).map(|ip| ip.to_string()),
                visitor: Some(visitor.id),
            },
            code: None,
        };
        let enrolled = public.engine().run(stage.context(&public, SOURCE_REFERRER), enrol).await?;
        // Somebody was faster with the same address.
        if !enrolled.created || enrolled.participant.lead_since.is_some() {
            return taken();
        }
        let mut response = onward(StatusCode::SEE_OTHER, &public.keys.page.path(stage.space.number(), enrolled.participant.referrer()))?;
        set_cookie(&mut response, visitor_cookie(&public, &visitor));
        Ok(response)
    };
    let answer = answer.await;
    finish(&parts, answer)
}

// ---------------------------------------------------------------- a referrer's own page

async fn referrer_page(State(public): State<Public>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let answer = async {
        let (space, id) = public.keys.page.read(segment(&parts.uri, 1)).ok_or(Trouble::Nowhere)?;
        let (space, shared) = (Space::new(space), public.engine().shared_arc());
        let found = public.engine().read(move |tx| Box::pin(async move { portal::portal(tx, &shared, space, id).await })).await?;
        let stage = Stage::new(&public, space, found.campaign, found.company);
        if found.referrer.suspended_at.is_some() {
            return Ok(page_with(StatusCode::OK, REFERRER_POLICY_SECRET, resting(&stage.site())));
        }
        let referrer = &found.referrer;
        let (link, name) = (public.engine().shared().link(&referrer.code), words::first_name(&referrer.first_name));
        let (subject, share_text, qr) = share_words(&stage, referrer);
        let view = Referrer {
            site: stage.site(),
            first_name: name.as_deref(),
            code: &referrer.code,
            link: &link,
            share: Share { link: &link, subject: &subject, text: &share_text, qr: &qr },
            standing: match stage.closed() {
                None | Some(Closed::NotStarted) => Standing::Open,
                Some(Closed::Paused) => Standing::Paused,
                Some(_) => Standing::Ended,
            },
            gives: stage.offers.gives.as_deref(),
            gets: stage.offers.gets.as_deref(),
            visits: found.visits,
            leads: referrer.leads,
            qualified: referrer.qualified_leads,
            earned: found.earned,
            on_its_way: found.on_its_way,
            coupons: found.coupons,
            next: portal::goal(&stage.campaign.configuration, &stage.language, referrer),
            people: found.people,
            more_people: found.more_people,
            now: stage.now,
        };
        Ok(page_with(StatusCode::OK, REFERRER_POLICY_SECRET, view.html()))
    };
    finish(&parts, answer.await)
}

/// Subject and text that are proposed for sharing, and where the QR code is.
fn share_words(stage: &Stage, referrer: &Participant) -> (String, String, String) {
    let (site, words) = (stage.site(), stage.language.words());
    let name = words::first_name(&referrer.first_name);
    let template = match &stage.campaign.settings().words.share {
        Some(own) => own.as_str(),
        None if stage.offers.gives.is_some() => words.share_text,
        None => words.share_text_plain,
    };
    let text = fill_offer(template, &site, name.as_deref(), stage.offers.gives.as_deref());
    (fill(words.share_subject, &[("company", site.company)]), text, format!("/{}/qr-code", referrer.code))
}

async fn social(State(public): State<Public>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let answer = async {
        let social = Social::parse(segment(&parts.uri, 2)).ok_or(Trouble::Nowhere)?;
        let (link, participant) = personal_link(&public, &parts.uri).await?;
        let (stage, referrer) = stage_of(&public, &link, participant).await?;
        let (subject, text, qr) = share_words(&stage, &referrer);
        let address = public.engine().shared().link(&referrer.code);
        onward(StatusCode::FOUND, &social.url(&Share { link: &address, subject: &subject, text: &text, qr: &qr }))
    };
    finish(&parts, answer.await)
}

// ---------------------------------------------------------------- QR codes, assets

#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    Png,
    Download,
    Svg,
}

async fn qr_png(State(public): State<Public>, request: Request) -> Response {
    picture(&public, request, Picture::Png).await
}

async fn qr_download(State(public): State<Public>, request: Request) -> Response {
    picture(&public, request, Picture::Download).await
}

async fn qr_svg(State(public): State<Public>, request: Request) -> Response {
    picture(&public, request, Picture::Svg).await
}

/// The QR code of a referral link, or of a campaign's sign-up page. `size` is in pixels.
async fn picture(public: &Public, request: Request, picture: Picture) -> Response {
    let (parts, _) = request.into_parts();
    let answer = async {
        let link = find_link(public, segment(&parts.uri, 0)).await?;
        let shared = public.engine().shared();
        let address = match link.participant {
            Some(_) => shared.link(&link.code),
            None => shared.link(&format!("join/{}", link.code)),
        };
        let asked = parts.uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("size=")?.parse().ok()));
        let size = asked.unwrap_or(qr::SIZE_DEFAULT);
        let code = Qr::of(&share::link_via(&address, share::QR)).ok_or(Trouble::Nowhere)?;
        let (kind, bytes) = match picture {
            Picture::Png | Picture::Download => ("image/png", code.png(size)),
            Picture::Svg => ("image/svg+xml", code.svg(&address, size).into_bytes()),
        };
        let mut response = ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=86400")], bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        if picture == Picture::Download {
            // A code holds letters, digits, hyphens and underscores only.
            let name = HeaderValue::try_from(format!("attachment; filename=\"{}.png\"", link.code)).map_err(|_| Trouble::Nowhere)?;
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        Ok(response)
    };
    finish(&parts, answer.await)
}

async fn asset(request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let Some(asset) = assets::find(parts.uri.path()) else { return finish(&parts, Err(Trouble::Nowhere)) };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, assets::CACHE_CONTROL),
        // An icon that is opened by itself is a document.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::VARY, "accept-encoding"),
    ];
    let accepts_gzip = text(&parts.headers, &header::ACCEPT_ENCODING).is_some_and(|accepted| accepted.contains("gzip"));
    match asset.gzip.as_deref().filter(|_| accepts_gzip) {
        Some(gzip) => (headers, [(header::CONTENT_ENCODING, "gzip")], gzip).into_response(),
        None => (headers, Body::from(asset.body.clone())).into_response(),
    }
}

#[cfg(test)]
mod tests;
