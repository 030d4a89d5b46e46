use super::*;
use crate::{
    config::Config,
    engine::{
        MIGRATIONS,
        participant::{Erase, Suspend},
        qualify::Qualify,
        workspace::Workspace,
    },
    http::limit::Peer,
};
use goodword_core::{campaign::CampaignSettings, reward::RewardTerms};
use goodword_store::{Options, Store};
use serde_json::{Value, json};
use std::net::SocketAddr;

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1";

/// A server without a socket.
struct House {
    engine: Engine,
    workspace: Workspace,
    router: Router,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// What a browser would send back.
    fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn says(&self, status: u16, text: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert!(self.text().contains(text), "{text:?} is not in {}", self.text());
        assert_eq!(self.text().matches("<h1").count(), 1);
        assert_eq!(self.header("content-security-policy"), CONTENT_SECURITY_POLICY);
        assert_eq!(self.header("cache-control"), "no-store");
    }

    #[track_caller]
    fn leads_to(&self, status: u16, address: &str) {
        assert_eq!((self.status.as_u16(), self.header("location")), (status, address), "{}", self.text());
    }
}

impl House {
    async fn open(url: String, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.set_public_url("https://refer.example");
        config.form_limit_per_minute = 0;
        change(&mut config);
        let store = Store::open(Options::new(url, MIGRATIONS)).await.unwrap();
        let (engine, _) = Engine::open(store, &config.public_url()).await.unwrap();
        let workspace = engine.set_up("Northlight".parse().unwrap()).await.unwrap().unwrap().workspace;
        let app = App::new(engine.clone(), config);
        let router = router(&app).fallback(|headers: HeaderMap| async move { nowhere(&headers) }).with_state(app);
        Self { engine, workspace, router }
    }

    async fn campaign(&self, settings: Value, rewards: Value, status: CampaignStatus) -> Campaign {
        let mut settings = settings;
        settings["name"] = json!("Spring");
        let create = campaign::Create {
            settings: serde_json::from_value::<CampaignSettings>(settings).unwrap(),
            rewards: serde_json::from_value::<Vec<RewardTerms>>(rewards).unwrap(),
            status,
            code: None,
        };
        let campaign = self.engine.run(self.context(), create).await.unwrap();
        self.engine.forget().await.unwrap();
        campaign
    }

    fn context(&self) -> Context {
        self.engine.context(self.workspace.live, "test", "api")
    }

    async fn referrer(&self, campaign: &Campaign, name: &str) -> Participant {
        let email = format!("{}@example.com", name.to_lowercase()).parse().unwrap();
        let person = participant::Person {
            email,
            first_name: name.into(),
            last_name: "Private".into(),
            external_id: None,
            fields: Default::default(),
            ip: None,
            visitor: None,
        };
        self.engine.run(self.context(), Enrol { campaign: campaign.id, person, code: None }).await.unwrap().participant
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "refer.example").header("user-agent", PHONE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Peer(SocketAddr::from(([203, 0, 113, 9], 1))));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], "").await
    }

    /// Sends a form that a person has had open for ten seconds.
    async fn send(&self, path: &str, cookie: &str, answers: &[(&str, &str)]) -> Reply {
        let token = Guard::new(self.engine.secret()).token(path, self.engine.wall().plus_ms(-10_000));
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("form_token", &token).extend_pairs(answers);
        self.ask("POST", path, &[("cookie", cookie), ("sec-fetch-site", "same-origin")], &body.finish()).await
    }

    async fn person(&self, campaign: &Campaign, email: &str) -> Option<Participant> {
        let (campaign, email, space) = (campaign.clone(), email.parse().unwrap(), self.workspace.live);
        self.engine.read(move |tx| Box::pin(async move { participant::by_email(tx, space, &campaign, &email).await })).await.unwrap()
    }

    /// All visits, when there are so many: the recorder takes its time.
    async fn visits(&self, count: usize) -> Vec<crate::engine::visit::VisitView> {
        let space = self.workspace.live;
        loop {
            let page = crate::engine::list::Page { ascending: true, ..Default::default() };
            let list = self.engine.read(move |tx| Box::pin(async move { crate::engine::visit::list(tx, space, &Default::default(), &page).await }));
            let visits = list.await.unwrap().data;
            if visits.len() >= count {
                return visits;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn rewards() -> Value {
    json!([
        {"name": "Thanks", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "150", "currency": "USD"}}, "hold_days": 14, "review": "never"},
        {"name": "Points", "beneficiary": "referrer", "value": {"type": "custom", "metric": "points", "units": 500}, "cadence": {"type": "milestones", "steps": [{"count": 3}]}},
        {"name": "Welcome", "beneficiary": "lead", "value": {"type": "fixed", "amount": {"amount": "20", "currency": "USD"}}},
    ])
}

async fn house(test: impl AsyncFnOnce(House)) {
    let (_folder, url) = goodword_testkit::sqlite_url();
    test(House::open(url, |_| ()).await).await;
}

#[tokio::test]
async fn from_sign_up_to_reward() {
    goodword_testkit::on_both(async |url| {
        let house = House::open(url, |_| ()).await;
        let fields = json!([{"key": "company", "label": "Company", "required": true}]);
        let settings = json!({"lead_fields": fields, "link": {"destination": "https://northlight.example/start?x=1"}});
        let campaign = house.campaign(settings, rewards(), CampaignStatus::Live).await;

        // Somebody signs up and is on their own page at once.
        let join = format!("/join/{}", campaign.code);
        house.get(&format!("/{}", campaign.code)).await.leads_to(302, &join);
        house.get(&join).await.says(200, "Give $20.<br><em>Get $150.</em>");
        let sent = house.send(&join, "", &[("first_name", "Priya"), ("email", "priya@example.com")]).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER);
        let mine = sent.header("location").to_owned();
        let page = house.get(&mine).await;
        page.says(200, "Nobody yet");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        let priya = house.person(&campaign, "priya@example.com").await.unwrap();
        assert_eq!(priya.source, "direct");
        assert!(page.text().contains(&format!("refer.example/{}", priya.code)));
        assert_eq!(page_address(&house.engine, house.workspace.live, priya.referrer()), format!("https://refer.example{mine}"));

        // A friend uses the link, makes a mistake, mends it, and is a lead.
        let link = format!("/{}", priya.code);
        let landing = house.ask("GET", &format!("{link}?via=whatsapp"), &[("referer", "https://mail.example/secret?q=1")], "").await;
        landing.says(200, "<bdi>Priya</bdi> gives you <em>$20</em></h1>");
        let cookie = landing.cookie();
        let wrong = house.send(&link, &cookie, &[("first_name", "Maya <b>"), ("email", "maya")]).await;
        wrong.says(422, "Answer “Company”.");
        assert!(wrong.text().contains(r#"value="Maya &lt;b&gt;""#));
        let maya = [("first_name", "Maya"), ("email", "maya@example.org"), ("field.company", "Rosen")];
        house.send(&link, &cookie, &maya).await.leads_to(303, &format!("{link}/thanks"));
        house.send(&link, &cookie, &maya).await.leads_to(303, &format!("{link}/thanks"));
        let code = format!("https://northlight.example/start?x=1&amp;ref={}", priya.code);
        house.get(&format!("{link}/thanks")).await.says(200, &code);
        let lead = house.person(&campaign, "maya@example.org").await.unwrap();
        assert_eq!((lead.referrer_id, lead.source.as_str(), &lead.fields["company"]), (Some(priya.id), "referred", &json!("Rosen")));
        assert!(lead.link_used_at.is_some() && lead.visitor.is_some() && lead.ip.as_deref() == Some("203.0.113.9"));

        // It was one visit, of a phone, from a page of which only the host is known.
        let visits = house.visits(1).await;
        assert_eq!(visits.len(), 1);
        let visit = &visits[0];
        assert_eq!(
            (visit.device.as_str(), visit.bot, visit.source.as_str(), visit.referring_host.as_deref()),
            ("phone", false, "whatsapp", Some("mail.example"))
        );
        assert_eq!(visit.visitor_id.map(|id| id.uuid()), lead.visitor);

        // The friend becomes a customer, and the referrer sees what comes of it.
        let qualify = Qualify { lead: crate::engine::qualify::LeadKey::Id(lead.lead()), campaign: None, external_id: None, occurred_at: None, note: None };
        house.engine.run(house.context(), qualify).await.unwrap();
        house.engine.catch_up_statistics().await.unwrap();
        let page = house.get(&mine).await;
        page.says(200, "<bdi>Maya</bdi>");
        for expected in ["1 <small>visits</small>", "$150 <small>on its way</small>", "$150 on ", "1 of 3 friends", "500 points"] {
            assert!(page.text().contains(expected), "{expected} is not in {}", page.text());
        }
        assert!(!page.text().contains("maya@"), "nobody's address is shown");
    })
    .await;
}

#[tokio::test]
async fn programs_and_other_sites_send_nothing_and_people_lose_nothing() {
    house(async |house: House| {
        let campaign = house.campaign(json!({}), rewards(), CampaignStatus::Live).await;
        let priya = house.referrer(&campaign, "Priya").await;
        let path = format!("/{}", priya.code);
        let answers = "first_name=Maya&email=maya%40example.org";
        let token = |age_ms: i64| Guard::new(house.engine.secret()).token(&path, house.engine.wall().plus_ms(-age_ms));
        let same: &[(&str, &str)] = &[("sec-fetch-site", "same-origin")];

        for (body, what) in [
            (answers.to_owned(), "without a token"),
            (format!("{answers}&form_token={}", token(100)), "too fast"),
            (format!("{answers}&form_token={}", token(100_000_000)), "too late"),
            (format!("{answers}&form_token={}&your_homepage_title=x", token(10_000)), "into the trap"),
        ] {
            let reply = house.ask("POST", &path, same, &body).await;
            reply.says(422, "Please send this once more");
            assert!(reply.text().contains(r#"value="maya@example.org""#), "{what}");
        }
        let good = format!("{answers}&form_token={}", token(10_000));
        for headers in [&[("sec-fetch-site", "cross-site")], &[("origin", "https://evil.example")], &[("origin", "null")]] {
            house.ask("POST", &path, headers, &good).await.says(403, "Please send it again");
        }
        let long = format!("{answers}&x={}", "x".repeat(FORM_BYTES_MAX));
        house.ask("POST", &path, same, &long).await.says(413, "Please send it again");
        assert!(house.person(&campaign, "maya@example.org").await.is_none());
        // A browser that only knows `Origin` is heard.
        house.ask("POST", &path, &[("origin", "https://refer.example")], &good).await.leads_to(303, &format!("{path}/thanks"));
    })
    .await;
}

#[tokio::test]
async fn forms_from_one_address_are_limited() {
    let (_folder, url) = goodword_testkit::sqlite_url();
    let house = House::open(url, |config| config.form_limit_per_minute = 2).await;
    let campaign = house.campaign(json!({"language": "de"}), rewards(), CampaignStatus::Live).await;
    let path = format!("/join/{}", campaign.code);
    for _ in 0..2 {
        house.send(&path, "", &[]).await.says(422, "Geben Sie Ihren Vornamen ein.");
    }
    let reply = house.send(&path, "", &[]).await;
    reply.says(429, "One moment, please");
    assert!(reply.header("retry-after").parse::<u32>().unwrap() >= 1);
}

#[tokio::test]
async fn the_rule_of_attribution_decides_whose_lead_it_is() {
    house(async |house: House| {
        for (model, expected) in [("first", 0), ("last", 1)] {
            let campaign = house.campaign(json!({"attribution": {"model": model}}), rewards(), CampaignStatus::Live).await;
            let referrers = [house.referrer(&campaign, "Priya").await, house.referrer(&campaign, "Omar").await];
            let first = house.get(&format!("/{}", referrers[0].code)).await.cookie();
            let path = format!("/{}", referrers[1].code);
            let both = house.ask("GET", &path, &[("cookie", &first)], "").await.cookie();
            let sent = house.send(&path, &both, &[("first_name", "Maya"), ("email", "maya@example.org")]).await;
            sent.leads_to(303, &format!("/{}/thanks", referrers[expected].code));
            assert_eq!(house.person(&campaign, "maya@example.org").await.unwrap().referrer_id, Some(referrers[expected].id), "{model}");

            // Without cookies, or with one that is not ours, the page itself counts.
            for (n, cookie) in ["", "goodword_visitor=AAAA"].into_iter().enumerate() {
                let email = format!("n{n}@example.org");
                house.send(&path, cookie, &[("first_name", "Noor"), ("email", &email)]).await;
                assert_eq!(house.person(&campaign, &email).await.unwrap().referrer_id, Some(referrers[1].id));
            }

            // A referrer who cannot have leads any more gives way.
            let suspend = Suspend { referrer: referrers[0].referrer(), suspended: true, note: None };
            house.engine.run(house.context(), suspend).await.unwrap();
            house.send(&path, &both, &[("first_name", "Zoe"), ("email", "zoe@example.org")]).await.leads_to(303, &format!("{path}/thanks"));
            assert_eq!(house.person(&campaign, "zoe@example.org").await.unwrap().referrer_id, Some(referrers[1].id));
        }
    })
    .await;
}

#[tokio::test]
async fn a_direct_link_carries_the_code_and_nothing_else() {
    house(async |house: House| {
        let settings = json!({"link": {"mode": "direct", "destination": "https://northlight.example/?a=b", "parameter": "via_friend"}});
        let campaign = house.campaign(settings, rewards(), CampaignStatus::Live).await;
        let priya = house.referrer(&campaign, "Priya").await;
        let destination = format!("https://northlight.example/?a=b&via_friend={}", priya.code);
        let path = format!("/{}?via=qr&utm_source=x", priya.code.to_lowercase());
        let reply = house.get(&path).await;
        reply.leads_to(302, &destination);
        assert!(reply.header("set-cookie").contains("; HttpOnly; SameSite=Lax; Secure"), "{}", reply.header("set-cookie"));
        assert_eq!(reply.header("cache-control"), "no-store");

        // HEAD sees the same and is no visit; a program gets no cookie and is known as one.
        house.ask("HEAD", &path, &[], "").await.leads_to(302, &destination);
        let mut request = Request::get(&path).header("user-agent", "facebookexternalhit/1.1").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(SocketAddr::from(([203, 0, 113, 9], 1))));
        let response = house.router.clone().oneshot(request).await.unwrap();
        assert!(response.status() == StatusCode::FOUND && !response.headers().contains_key("set-cookie"));
        let visits = house.visits(2).await;
        assert_eq!(visits.iter().map(|visit| (visit.bot, visit.source.as_str())).collect::<Vec<_>>(), [(false, "qr"), (true, "qr")]);

        // Paused, it is a page with kind words and the normal way in.
        house.engine.run(house.context(), campaign::SetStatus { id: campaign.id, if_version: None, status: CampaignStatus::Paused }).await.unwrap();
        house.engine.forget().await.unwrap();
        let reply = house.get(&format!("/{}", priya.code)).await;
        reply.says(200, "This offer is taking a break");
        assert!(reply.text().contains("href=\"https://northlight.example/?a=b\""));
    })
    .await;
}

#[tokio::test]
async fn nothing_of_anybody_is_shown_to_others() {
    house(async |house: House| {
        let campaign = house.campaign(json!({}), rewards(), CampaignStatus::Live).await;
        let priya = house.referrer(&campaign, "Priya").await;
        let (path, join) = (format!("/{}", priya.code), format!("/join/{}", campaign.code));
        house.send(&path, "", &[("first_name", "Maya"), ("email", "maya@example.org")]).await;
        let maya = house.person(&campaign, "maya@example.org").await.unwrap();

        // Whoever signs up with the address of a referrer or of a lead learns nothing and changes nothing.
        for (email, person) in [("PRIYA@example.com", &priya), ("maya@example.org", &maya)] {
            let reply = house.send(&join, "", &[("first_name", "Mallory"), ("email", email)]).await;
            reply.says(409, "This address is already taking part");
            assert!(!reply.text().contains(&person.first_name) && !reply.text().contains(&person.code) && reply.header("set-cookie").is_empty());
        }
        assert!(house.person(&campaign, "maya@example.org").await.unwrap().referrer_since.is_none());

        house.send(&path, "", &[("first_name", "Priya"), ("email", "priya@example.com")]).await.says(409, "This link is your own");
        let omar = house.referrer(&campaign, "Omar").await;
        let other = format!("/{}", omar.code);
        house.send(&other, "", &[("first_name", "Maya"), ("email", "maya@example.org")]).await.says(409, "You are already taking part");
        let page = house.get(&other).await;
        assert!(!page.text().contains("Private") && !page.text().contains("omar@"), "of the referrer only the first name is shown");

        let mine = page_address(&house.engine, house.workspace.live, priya.referrer()).replace("https://refer.example", "");
        house.get(&mine).await.says(200, "<bdi>Maya</bdi>");
        for token in ["x", "", &mine[4..mine.len() - 1], &format!("{}A", &mine[4..])] {
            house.get(&format!("/me/{token}")).await.says(404, "There is nothing here");
        }
        // Signed, but on the other side, where there is nobody of that id.
        let elsewhere = PageAddress::new(house.engine.secret()).path(house.workspace.test.number(), priya.referrer());
        house.get(&elsewhere).await.says(404, "There is nothing here");
        house.engine.run(house.context(), Suspend { referrer: priya.referrer(), suspended: true, note: None }).await.unwrap();
        house.get(&mine).await.says(200, "Your link is resting");
        house.get(&path).await.says(410, "This offer is over");
        house.engine.run(house.context(), Erase { participant: priya.id, as_lead: false }).await.unwrap();
        house.get(&mine).await.says(404, "There is nothing here");
    })
    .await;
}

#[tokio::test]
async fn closed_doors_have_kind_words() {
    house(async |house: House| {
        for (settings, status, expected, words) in [
            (json!({}), CampaignStatus::Draft, 200, "This starts soon"),
            (json!({"starts_at": "2999-01-01"}), CampaignStatus::Live, 200, "This starts soon"),
            (json!({"ends_at": "2020-01-01"}), CampaignStatus::Live, 410, "This offer is over"),
            (json!({"open_enrolment": false}), CampaignStatus::Live, 200, "Sign-up is by invitation"),
        ] {
            let campaign = house.campaign(settings, rewards(), status).await;
            house.get(&format!("/join/{}", campaign.code)).await.says(expected, words);
            house.send(&format!("/join/{}", campaign.code), "", &[]).await.says(expected, words);
        }
        let campaign = house.campaign(json!({"limits": {"leads_per_referrer": 1}}), rewards(), CampaignStatus::Live).await;
        let priya = house.referrer(&campaign, "Priya").await;
        let path = format!("/{}", priya.code);
        house.send(&path, "", &[("first_name", "Maya"), ("email", "maya@example.org")]).await;
        house.get(&path).await.says(200, "This link has done its work");

        for nowhere in
            ["/NOSUCH22", "/x", "/join/NOSUCH22", &format!("/join/{}", priya.code), &format!("{path}/socials/myspace"), "/assets/x.css", "/a/b/c", "/%00"]
        {
            house.ask("GET", nowhere, &[("accept-language", "fr, de;q=0.9")], "").await.says(404, "Hier ist nichts");
        }
        assert_eq!(house.get("/v1").await.header("content-type"), "application/problem+json");
    })
    .await;
}

#[tokio::test]
async fn codes_and_shares_lead_to_the_link() {
    house(async |house: House| {
        let campaign = house.campaign(json!({"words": {"share": "{reward} & more from {referrer}"}}), rewards(), CampaignStatus::Live).await;
        let priya = house.referrer(&campaign, "Priya").await;
        let path = format!("/{}", priya.code);
        let scan = |reply: &Reply| {
            let mut reader = png::Decoder::new(std::io::Cursor::new(&reply.body)).read_info().unwrap();
            let mut bits = vec![0; reader.output_buffer_size().unwrap()];
            let width = reader.next_frame(&mut bits).unwrap().width as usize;
            let dark = |x: usize, y: usize| if bits[y * width.div_ceil(8) + x / 8] & (0x80 >> (x % 8)) == 0 { 0 } else { 255 };
            (width, rqrr::PreparedImage::prepare_from_greyscale(width, width, dark).detect_grids()[0].decode().unwrap().1)
        };
        let picture = house.get(&format!("{path}/qr-code?size=300")).await;
        assert_eq!((picture.header("content-type"), scan(&picture)), ("image/png", (300, format!("https://refer.example{path}?via=qr"))));
        let download = house.get(&format!("{path}/download-qr-code")).await;
        assert_eq!(download.header("content-disposition"), format!("attachment; filename=\"{}.png\"", priya.code));
        assert_eq!(house.get(&format!("{path}/qr.svg")).await.header("content-type"), "image/svg+xml");
        let sign_up = house.get(&format!("/{}/qr.png", campaign.code)).await;
        assert_eq!(scan(&sign_up).1, format!("https://refer.example/join/{}?via=qr", campaign.code));

        let text = "%2420%20%26%20more%20from%20Priya%20https%3A%2F%2Frefer.example%2F";
        house.get(&format!("{path}/socials/whatsapp")).await.leads_to(302, &format!("https://wa.me/?text={text}{}%3Fvia%3Dwhatsapp", priya.code));
        house.get(&format!("{path}/socials/wechat")).await.leads_to(302, &format!("{path}/qr-code"));

        let css = house.ask("GET", assets::CSS.url(), &[("accept-encoding", "gzip, br")], "").await;
        assert_eq!((css.header("content-encoding"), css.header("cache-control")), ("gzip", "public, max-age=31536000, immutable"));
        assert_eq!(house.get(assets::CSS.url()).await.body, *assets::CSS.body);
        assert_eq!(house.ask("GET", assets::FONT_TEXT.url(), &[("accept-encoding", "gzip")], "").await.header("content-encoding"), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_shows_what_waits_and_why_to_who_is_signed_in() {
    house(async |house| {
        let terms = json!([{"name": "Ten", "beneficiary": "referrer", "value": {"type": "fixed", "amount": {"amount": "10.00", "currency": "EUR"}}, "review": "always"}]);
        let campaign = house.campaign(json!({}), terms, CampaignStatus::Live).await;
        let referrer = house.referrer(&campaign, "Priya").await;
        let person = participant::Person { email: "maya@example.net".parse().unwrap(), first_name: "Maya".into(), last_name: String::new(), external_id: None, fields: Default::default(), ip: None, visitor: None };
        let join = Join { campaign: Some(campaign.id), referrer: ReferrerKey::Id(referrer.referrer()), person, link_used_at: None };
        let lead = house.engine.run(house.context(), join).await.unwrap().lead.unwrap().id;
        let qualify = Qualify { lead: crate::engine::qualify::LeadKey::Id(lead), campaign: None, external_id: None, occurred_at: None, note: None };
        house.engine.run(house.context(), qualify).await.unwrap();

        // Nobody is there without a session, and a link that is only looked at makes none.
        let (desk, page) = ("/app", format!("/app/leads/{lead}"));
        house.get(desk).await.says(401, "You are not signed in");
        let link = |live, now| admin::sign_in_link(house.engine.secret(), "", live, now);
        let fresh = link(house.workspace.live, house.engine.wall());
        let asked = house.get(&fresh).await;
        asked.says(200, "Sign in");
        assert_eq!(asked.cookie(), "");
        house.get(&link(house.workspace.live, house.engine.wall().plus_ms(-3_600_000))).await.says(410, "goodword admin");
        house.ask("POST", &fresh, &[("sec-fetch-site", "cross-site")], "").await.says(403, "");
        let entered = house.send(&fresh, "", &[]).await;
        entered.leads_to(303, "/app");
        let cookie = entered.cookie();
        assert!(entered.header("set-cookie").contains("HttpOnly; SameSite=Lax; Secure"));
        // A link is no session.
        let link_as_session = format!("goodword_app={}", fresh.rsplit('/').next().unwrap());
        house.ask("GET", desk, &[("cookie", &link_as_session)], "").await.says(401, "");

        let get = async |path: &str| house.ask("GET", path, &[("cookie", &cookie)], "").await;
        let shown = get(desk).await;
        shown.says(200, "Every reward of this definition is reviewed.");
        assert!(shown.text().contains(&page) && shown.text().contains("Northlight"));
        get(&page).await.says(200, "maya@example.net");
        get("/app/leads/lead_01m7wtv7exedxa32004vrrceet").await.says(404, "");
        // The other side, and the other workspace, have nothing of it.
        let test_side = get("/app?side=test").await;
        test_side.says(200, "Nothing waits for you");
        assert!(!test_side.text().contains("Maya"));
        get(&format!("{page}?side=test")).await.says(404, "");
        let other = crate::engine::workspace::CreateWorkspace { name: "Other".parse().unwrap() };
        let other = house.engine.run(house.engine.context(Space::new(0), "test", "api"), other).await.unwrap();
        let stranger = house.send(&link(other.live, house.engine.wall()), "", &[]).await.cookie();
        house.ask("GET", &page, &[("cookie", &stranger)], "").await.says(404, "");

        let form = shown.text().split("action=\"").find(|rest| rest.starts_with("/app/rewards/")).unwrap().split('"').next().unwrap().to_owned();
        assert_eq!(house.send(&form, &stranger, &[("action", "approve")]).await.status, StatusCode::NOT_FOUND);
        house.ask("POST", &form, &[("cookie", &cookie), ("sec-fetch-site", "cross-site")], "action=approve").await.says(403, "");
        house.send(&form, &cookie, &[("action", "steal")]).await.says(400, "");
        for _ in 0..2 {
            house.send(&form, &cookie, &[("action", "approve")]).await.leads_to(303, "/app");
        }
        get(desk).await.says(200, "Nothing waits for you");
        house.send("/app/sign-out", &cookie, &[]).await.leads_to(303, "/app");
    })
    .await;
}
