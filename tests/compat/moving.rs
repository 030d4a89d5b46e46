//! Moving an account over: `goodword import referral-factory` against a stand-in for the vendor.

use crate::{
    site::Site,
    support::{SECRET_KEY, TestApp},
    vendor::{Account, TOKEN, Vendor},
};
use serde_json::{Value, json};
use std::process::{Command, Output};

fn user(id: i64, referrer: Option<i64>, code: &str, email: &str, qualified: Option<&str>) -> Value {
    json!({ "id": id, "campaign_id": 50297, "referrer_id": referrer, "first_name": format!("User {id}"), "email": email, "code": code, "reach": "3", "source": if referrer.is_some() { "Referred" } else { "Direct" },
        "type": if referrer.is_some() { "person_invited" } else { "person_referring" }, "ip": "62.90.15.90", "url": format!("https://acme.referral-factory.com/{code}"), "signed_up_at": "2024-12-27",
        "qualified_at": qualified, "unsubscribed_at": null, "meta": [{"field": "Last Name", "value": "Smith"}, {"field": "Country", "value": "Netherlands"}] })
}

const PEOPLE: i64 = 600;

/// An account with everything that is awkward.
fn account() -> Account {
    let campaign = json!({ "id": 50297, "name": "Acme friends", "code": "cp0fYnuj", "lang": "en", "url": "https://acme.referral-factory.com/cp0fYnuj", "reach": "12", "status": "launched",
        "starts_at": null, "ends_at": null, "created_at": "2024-11-01", "fields": { "person_referring": [{"id": "1", "type": "select", "label": "Country", "value": "Netherlands,Germany", "required": false}],
        "person_invited": [{"id": "2", "type": "select", "label": "Country", "value": "Netherlands,Germany", "required": true}, {"id": "3", "type": "input", "label": "First Name", "value": "", "required": true}] },
        "assets": {"logo": {"type": "circle", "path": null}} });
    let second = json!({"id": 50298, "name": "Paused", "code": "cXr65Wou", "lang": "nl", "status": "paused", "created_at": "2025-01-01", "fields": {}});
    // A lead on the first page whose referrer is on the last one.
    let mut users = vec![user(900_001, Some(900_600), "eArLy001", "early@example.com", None)];
    for i in 2..=PEOPLE {
        let id = 900_000 + i;
        let referrer = (i % 3 == 0).then_some(900_002);
        let qualified = (i % 6 == 0).then_some("2025-02-01");
        users.push(user(id, referrer, &format!("Code{i:04}x"), &format!("user{i}@example.com"), qualified));
    }
    users.push(user(900_700, None, "cODE0010X", "collides@example.com", None));
    users.push(user(900_701, None, "v2", "short@example.com", None));
    users.push(user(900_702, None, "Nowhere1", "no address", None));
    users.push(user(900_703, Some(999), "Orphan01", "orphan@example.com", None));
    users.push(user(900_704, Some(900_002), "sELF0001", "USER2@example.com", None));
    let definitions = vec![
        json!({"id": 71, "campaign_id": 50297, "name": "Twenty", "reward_for": "person_referring", "type": "amount", "value": 20, "when_referral": "qualified"}),
        json!({"id": 72, "campaign_id": 50297, "name": "Welcome", "reward_for": "person_invited", "type": "coupon", "value": null, "when_referral": "joined"}),
    ];
    let issued = vec![
        ("amount", json!({"id": 1, "reward_id": 71, "recipient_id": 900_002, "status": "issued", "issued_at": "2025-02-02", "count": 1, "total": 20.0})),
        ("amount", json!({"id": 2, "reward_id": 71, "recipient_id": 900_002, "status": "failed", "issued_at": "2025-02-03", "count": 1, "total": 20.0})),
        ("coupon", json!({"id": 3, "reward_id": 72, "recipient_id": 900_003, "status": "issued", "issued_at": "2025-01-01", "coupon": "SAVE50"})),
    ];
    let due = vec![
        ("amount", json!({"id": 4, "reward_id": 71, "recipient_id": 900_002, "can_be_issued": true, "count": 2, "total": 40.5})),
        // A definition of which version 1 does not tell.
        ("commission", json!({"id": 5, "reward_id": 73, "recipient_id": 900_002, "can_be_issued": false, "count": 1, "total": 0})),
        ("amount", json!({"id": 6, "reward_id": 71, "recipient_id": 555, "can_be_issued": true, "count": 1, "total": 1})),
    ];
    Account { campaigns: vec![campaign, second], definitions: Some(definitions), users, due, issued }
}

fn import(database: &str, arguments: &[&str]) -> Output {
    let data = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_goodword"))
        .args(["import", "referral-factory", "--side", "test", "--json", "--currency", "EUR", "--per-minute", "590", "--database-url", database, "--data"])
        .arg(data.path())
        .args(arguments)
        .env("REFERRAL_FACTORY_TOKEN", TOKEN)
        .env("GOODWORD_SECRET_KEY", SECRET_KEY)
        .output()
        .unwrap()
}

/// The summary, which is the last line.
fn summary(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn counts(summary: &Value, kind: &str) -> (i64, i64, i64, i64) {
    let n = |name: &str| summary[kind][name].as_i64().unwrap();
    (n("added"), n("changed"), n("same"), n("refused"))
}

async fn blocking(database: &str, arguments: Vec<String>) -> Output {
    let database = database.to_owned();
    tokio::task::spawn_blocking(move || import(&database, &arguments.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
}

async fn set_up(database: &str) {
    Site::open(database, 0).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_over() {
    goodword_testkit::on_both(async |database| {
        set_up(&database).await;
        let vendor = Vendor::start(account()).await;
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("report.txt");
        let arguments = |more: &[&str]| {
            let mut all = vec!["--base-url".to_owned(), format!("{}/api/v2", vendor.url), "--report".to_owned(), report.display().to_string()];
            all.extend(more.iter().map(|&text| text.to_owned()));
            all
        };

        // A dry run says the same as what follows, and keeps nothing.
        let dry = blocking(&database, arguments(&["--dry-run"])).await;
        assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
        let dry = summary(&dry);
        let told = std::fs::read_to_string(&report).unwrap();
        for (what, why) in [
            ("user 900700 (collides@example.com)", "differs from that of user 900010"),
            ("user 900701 (short@example.com)", "cannot be kept"),
            ("user 900702 (no address)", "is no e-mail address"),
            ("user 900703 (orphan@example.com)", "their referrer is not there"),
            ("user 900704 (USER2@example.com)", "cannot come"),
        ] {
            assert!(told.lines().any(|line| line.starts_with(what) && line.contains(why)), "{what}: {why}\n{told}");
        }
        let site = Site::open(&database, 0).await;
        assert_eq!(site.call("GET", "/api/v2/users", None).await.body["meta"]["total"], 0);
        site.close().await;

        // An interruption on the second page of people…
        vendor.answers_left.store(3, std::sync::atomic::Ordering::Relaxed);
        let broken = blocking(&database, arguments(&[])).await;
        assert!(!broken.status.success());
        vendor.answers_left.store(u32::MAX, std::sync::atomic::Ordering::Relaxed);
        // …and on.
        vendor.asked.lock().unwrap().clear();
        vendor.asked.lock().unwrap().extend(std::iter::repeat_n(String::new(), 10)); // no more stumbling
        let real = blocking(&database, arguments(&[])).await;
        let errors = String::from_utf8_lossy(&real.stderr).into_owned();
        assert!(!real.status.success() && errors.contains("could not come"), "some could not come: {errors}");

        let site = Site::open(&database, 0).await;
        let get = async |path: &str| site.call("GET", path, None).await.body;
        // Ids, codes, links, attribution, times.
        let campaign = get("/api/v2/campaigns/50297").await;
        assert_eq!((&campaign["data"]["code"], &campaign["data"]["status"], &campaign["data"]["created_at"]), (&json!("cp0fYnuj"), &json!("launched"), &json!("2024-11-01")));
        assert_eq!(campaign["data"]["fields"]["person_invited"], json!([{"id": "country", "type": "select", "label": "Country", "value": "Netherlands,Germany", "required": true}]));
        let lead = get("/api/v2/users/900006").await;
        let expected = json!({"id": 900_006, "campaign_id": 50297, "referrer_id": 900_002, "code": "Code0006x", "source": "Referred", "type": "person_invited", "signed_up_at": "2024-12-27", "qualified_at": "2025-02-01",
            "meta": [{"field": "Last Name", "value": "Smith"}, {"field": "Country", "value": "Netherlands"}]});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&lead["data"][name], value, "{name}");
        }
        assert_eq!(get("/api/v2/users/900001").await["data"]["referrer_id"], 900_600, "a referrer of a later page");
        assert_eq!(get("/api/v2/users/code0006X").await["data"]["id"], 900_006, "codes are compared without case");
        let referrer = get("/api/v2/users/900002?with=user.analytics").await;
        assert_eq!(referrer["data"]["analytics"], json!({"reach": 0, "referrals": 200, "qualified_referrals": 100}));
        let collided = get("/api/v2/users/900700").await;
        assert_ne!(collided["data"]["code"].as_str().unwrap().to_lowercase(), "code0010x");
        assert_eq!(get("/api/v2/users?per_page=1").await["meta"]["total"], 602);
        // Rewards with their states, and no new ones.
        let issued = get("/api/v2/rewards/issued/amount").await;
        assert_eq!(issued["data"].as_array().unwrap().len(), 2, "{issued}");
        assert_eq!(issued["data"][0]["reward_id"], 71);
        assert_eq!((&issued["data"][0]["recipient_id"], &issued["data"][0]["issued_at"], &issued["data"][1]["status"]), (&json!(900_002), &json!("2025-02-02"), &json!("failed")));
        let due = get("/api/v2/rewards/due/amount").await;
        assert_eq!((due["data"].as_array().unwrap().len(), &due["data"][0]["total"], &due["data"][0]["can_be_issued"]), (1, &json!(40.5), &json!(true)));
        assert_eq!(get("/api/v2/rewards/issued/coupon").await["data"][0]["coupon"], "SAVE50");
        // Definitions are inactive: a qualification gives nothing until somebody has looked at them.
        let qualified = site.call("PUT", "/api/v2/users/qualification", Some(json!({"id": 900_003, "qualified": true}))).await;
        assert_eq!(qualified.status, 200);
        assert_eq!(get("/api/v2/rewards/due/amount").await["meta"]["total"], 1);
        // A redeemed coupon qualifies whom it was given to.
        assert_eq!(site.call("POST", "/api/n8n/users/qualify", Some(json!({"coupon": "save50"}))).await.body["data"]["id"], 900_003);
        // New ids go on above theirs.
        let new = site.call("POST", "/api/v2/users", Some(json!({"campaign_id": 50297, "first_name": "New", "email": "new@example.com"}))).await;
        assert!(new.body["data"]["id"].as_i64().unwrap() > 900_701, "{}", new.text);
        let books = TestApp { engine: site.engine.clone(), workspace: site.workspace.clone(), space: site.space() };
        books.check_books().await;
        books.check_statistics().await;
        // The link that was shared years ago.
        let link = site.send("GET", "/Code0002x", &[("accept", "text/html")], "").await;
        assert_eq!(link.status, 200);
        let before = books.everything().await.into_iter().filter(|(table, _)| !["api_keys", "generations", "consumers"].contains(&table.name.as_str())).collect::<Vec<_>>();
        let signals = books.number("SELECT count(*) FROM signals WHERE space = $1").await;
        site.close().await;

        // Again: nothing changes.
        let again = summary(&blocking(&database, arguments(&[])).await);
        assert_eq!(counts(&again, "campaigns"), (0, 0, 2, 0));
        assert_eq!((counts(&again, "referrers").0, counts(&again, "leads").0, counts(&again, "rewards").0), (0, 0, 0), "{again}");
        assert_eq!((counts(&again, "referrers").1, counts(&again, "leads").1, counts(&again, "rewards").1), (0, 0, 0), "{again}");
        // What the dry run had told was right.
        for kind in ["referrers", "leads", "rewards", "campaigns"] {
            let (dry, again) = (counts(&dry, kind), counts(&again, kind));
            assert_eq!((dry.0, dry.3), (again.2, again.3), "{kind}");
        }
        let site = Site::open(&database, 0).await;
        let books = TestApp { engine: site.engine.clone(), workspace: site.workspace.clone(), space: site.space() };
        let unchanged = |name: &str| !["api_keys", "generations", "consumers", "signals", "statistics_daily", "statistics_referrers", "visits", "recorders"].contains(&name);
        for ((table, before), (_, after)) in before.iter().zip(books.everything().await.into_iter().filter(|(table, _)| !["api_keys", "generations", "consumers"].contains(&table.name.as_str()))) {
            assert!(!unchanged(&table.name) || *before == after, "{} has changed", table.name);
        }
        // Opening the server made a key, which is a signal.
        assert_eq!(books.number("SELECT count(*) FROM signals WHERE space = $1").await, signals + 1);
        site.close().await;

        // What happens there until the links are moved comes with the next run.
        {
            let mut account = vendor.account.lock().unwrap();
            account.users[11]["qualified_at"] = json!("2025-06-01");
            account.users[8]["qualified_at"] = json!("2025-06-02");
            account.users.push(user(900_800, Some(900_002), "LateCode", "late@example.com", Some("2025-06-03")));
            let (_, row) = account.due.remove(0);
            account.issued.push(("amount", json!({"id": 9, "reward_id": 71, "recipient_id": 900_002, "status": "issued", "issued_at": "2025-06-01", "count": 2, "total": row["total"]})));
        }
        let later = summary(&blocking(&database, arguments(&[])).await);
        assert_eq!((counts(&later, "leads").0, counts(&later, "leads").1), (1, 1), "{later}");
        assert_eq!((counts(&later, "rewards").0, counts(&later, "rewards").1), (0, 1), "{later}");
        let site = Site::open(&database, 0).await;
        assert_eq!(site.call("GET", "/api/v2/users/900009", None).await.body["data"]["qualified_at"], "2025-06-02");
        assert_eq!(site.call("GET", "/api/v2/rewards/due/amount", None).await.body["meta"]["total"], 0);
        let books = TestApp { engine: site.engine.clone(), workspace: site.workspace.clone(), space: site.space() };
        books.check_books().await;
        books.check_statistics().await;
        site.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_a_wrong_address_say_so() {
    let (_folder, database) = goodword_testkit::sqlite_url();
    set_up(&database).await;
    let vendor = Vendor::start(account()).await;
    let wrong = blocking(&database, vec!["--base-url".into(), vendor.url.clone(), "--token".into(), "wrong".into()]).await;
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("refuses the token"), "{}", String::from_utf8_lossy(&wrong.stderr));
    let nowhere = blocking(&database, vec!["--base-url".into(), format!("{}/elsewhere", vendor.url)]).await;
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("there is no API of Referral Factory"), "{}", String::from_utf8_lossy(&nowhere.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_move_over() {
    goodword_testkit::on_both(async |database| {
        let site = Site::open(&database, 0).await;
        site.usual_campaign().await;
        site.close().await;
        let folder = tempfile::tempdir().unwrap();
        let (referrers, leads) = (folder.path().join("referrers.csv"), folder.path().join("leads.csv"));
        std::fs::write(
            &referrers,
            "\u{feff}First Name,Email,Referral Link,Date Joined,Source,Company,Reach\nAda,ada@example.com,https://acme.referral-factory.com/AdaCode1,2024-05-01,Added,Analytical Engines,4\nBea,bea@example.com,https://acme.referral-factory.com/beaCODE2,2024-05-02 10:00:00,Widget,,0\n\nNo mail,,https://acme.referral-factory.com/x,2024-05-02,Added,,0\n",
        )
        .unwrap();
        std::fs::write(
            &leads,
            "Name,Email,Code,Referrer Email,Status,Qualified At,Country,Shoe size\nCid,cid@example.com,CidCode3,ada@example.com,Qualified,2024-06-01,Germany,44\nDan,dan@example.com,DanCode4,https://acme.referral-factory.com/BEACODE2,Pending,,Netherlands,\nEve,eve@example.com,EveCode5,,Pending,,,\nFay,fay@example.com,FayCode6,nobody@example.com,Pending,,,\n",
        )
        .unwrap();
        let arguments = |more: &[&str]| {
            let mut all = vec!["--campaign".to_owned(), "cp0fYnuj".to_owned(), "--referrers".into(), referrers.display().to_string(), "--leads".into(), leads.display().to_string()];
            all.extend(more.iter().map(|&text| text.to_owned()));
            all
        };
        let dry = summary(&blocking(&database, arguments(&["--dry-run"])).await);
        assert_eq!((counts(&dry, "referrers"), counts(&dry, "leads")), ((2, 0, 0, 1), (2, 0, 0, 2)), "{dry}");
        let output = blocking(&database, arguments(&[])).await;
        let real = summary(&output);
        assert_eq!((counts(&real, "referrers"), counts(&real, "leads")), ((2, 0, 0, 1), (2, 0, 0, 2)), "{real}");
        let again = summary(&blocking(&database, arguments(&[])).await);
        assert_eq!((counts(&again, "referrers"), counts(&again, "leads")), ((0, 0, 2, 1), (0, 0, 2, 2)), "{again}");
        let site = Site::open(&database, 0).await;
        let ada = site.call("GET", "/api/v2/users/AdaCode1?with=user.analytics", None).await.body["data"].clone();
        assert_eq!((&ada["signed_up_at"], &ada["source"], &ada["analytics"]["qualified_referrals"]), (&json!("2024-05-01"), &json!("Added"), &json!(1)));
        assert_eq!(ada["meta"], json!([{"field": "Company", "value": "Analytical Engines"}]));
        let cid = site.call("GET", "/api/v2/users/cid%40example.com", None).await.body["data"].clone();
        assert_eq!((&cid["referrer_id"], &cid["qualified_at"], &cid["code"]), (&ada["id"], &json!("2024-06-01"), &json!("CidCode3")));
        let dan = site.call("GET", "/api/v2/users/DanCode4", None).await.body["data"].clone();
        assert_eq!((&dan["qualified_at"], &dan["type"]), (&Value::Null, &json!("person_invited")));
        site.close().await;
    })
    .await;
}
