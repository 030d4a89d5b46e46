//! The program as it is started: its commands on real files and databases.

mod process;
mod support;

use goodword::engine::{campaign::Create, participant, view};
use goodword_core::campaign::CampaignStatus;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use support::TestApp;

/// Runs the program to its end.
fn goodword(args: &[&str]) -> Done {
    let output = command(args).output().expect("the program starts");
    Done { ok: output.status.success(), out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goodword"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GOODWORD_") || name == "DATABASE_URL") {
        command.env_remove(name);
    }
    command.args(args).env("GOODWORD_LOG", "error").env("GOODWORD_SECRET_KEY", support::SECRET_KEY).stdin(Stdio::null());
    command
}

struct Done {
    ok: bool,
    out: String,
    err: String,
}

impl Done {
    #[track_caller]
    fn good(self) -> Self {
        assert!(self.ok, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn bad(self) -> Self {
        assert!(!self.ok, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

/// An installation with a campaign on its live side, and a folder for files. Nobody has it open.
struct Place {
    folder: tempfile::TempDir,
    url: String,
}

impl Place {
    async fn new(url: &str) -> Self {
        let app = TestApp::open(url).await.live();
        let settings = json!({
            "name": "Spring", "referrer_fields": [{"key": "company", "label": "Company"}, {"key": "status", "label": "Status"}],
            "lead_fields": [{"key": "phone", "label": "Phone", "kind": "phone"}],
        });
        let rewards = json!([{"name": "Voucher", "beneficiary": "lead", "trigger": "joined", "value": {"type": "coupon"}}]);
        let create = Create {
            settings: serde_json::from_value(settings).unwrap(),
            rewards: serde_json::from_value(rewards).unwrap(),
            status: CampaignStatus::Live,
            code: Some("spring".parse().unwrap()),
        };
        app.act(create).await.unwrap();
        app.engine.store().clone().close().await.unwrap();
        Self { folder: tempfile::tempdir().unwrap(), url: url.to_owned() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Runs a command on this installation.
    fn run(&self, args: &[&str]) -> Done {
        let data = self.path("data");
        let mut all = args.to_vec();
        all.extend(["--data", &data, "--database-url", &self.url]);
        goodword(&all)
    }

    fn import(&self, kind: &str, file: &str, more: &[&str]) -> Done {
        let mut args = vec!["import", kind, file, "--campaign", "Spring", "--json"];
        args.extend(more);
        self.run(&args)
    }

    async fn referrers(&self) -> Vec<view::Referrer> {
        let store = goodword_store::Store::open(goodword_store::Options::new(&self.url, goodword::engine::MIGRATIONS)).await.unwrap();
        let (engine, _) = goodword::engine::Engine::open_with(store.clone(), "http://x", support::vault()).await.unwrap();
        let (space, shared) = (goodword::engine::Space::new(2), engine.shared_arc());
        let page = goodword::engine::list::Page { limit: 1_000, ascending: true, ..Default::default() };
        let all = engine
            .read(move |tx| Box::pin(async move { participant::list_referrers(tx, &shared, space, &Default::default(), &page).await }))
            .await
            .unwrap()
            .data;
        store.close().await.unwrap();
        all
    }
}

async fn on_both(test: impl AsyncFn(Place)) {
    goodword_testkit::on_both(async |url| test(Place::new(&url).await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_rows_are_kept_and_bad_ones_told() {
    on_both(async |place| {
        let file = place.write(
            "referrers.csv",
            "email,first_name,external_id,company,fields.status,code,created_at\n\
             ana@example.com,Ana,c-1,Acme,gold,ANA2024,2026-01-02\n\
             nobody,X,,,,,\n\
             ben@example.com,Ben,,,,ANA2024,\n\
             cleo@example.com,Cleo,,,,,2099-01-01\n\
             Ana@Example.com,Ana again,,,,,\n\
             dan@example.com,'=1+1,,,,,\n\
             eve@example.com,Eve,c-1,,,,\n\
             too,few\n",
        );
        let errors = place.path("errors.csv");
        let done = place.import("referrers", &file, &["--errors", &errors]).bad();
        let summary = done.json();
        assert_eq!((&summary["rows"], &summary["imported"], &summary["already_there"], &summary["bad"]), (&json!(8), &json!(2), &json!(1), &json!(5)));
        assert!(done.err.contains("5 rows were refused"), "{}", done.err);
        assert_eq!(
            place.read("errors.csv"),
            "line,reason,email,first_name,external_id,company,fields.status,code,created_at\n\
             3,email: expected an e-mail address like priya@example.com,nobody,X,,,,,\n\
             4,code: ANA2024 is taken; codes are never given twice,ben@example.com,Ben,,,,ANA2024,\n\
             5,created_at: expected a time that is not in the future,cleo@example.com,Cleo,,,,,2099-01-01\n\
             8,external_id: somebody else in the campaign has c-1,eve@example.com,Eve,c-1,,,,\n\
             9,\"expected 7 cells as in the header, found 2\",too,few\n"
        );
        let people = place.referrers().await;
        assert_eq!(people.len(), 2);
        let ana = people.iter().find(|person| person.email == "ana@example.com").unwrap();
        assert_eq!((ana.code.as_str(), ana.source.as_str(), ana.created_at.date()), ("ANA2024", "import", "2026-01-02".to_owned()));
        assert_eq!(Value::from(ana.fields.clone()), json!({"company": "Acme", "status": "gold"}));
        assert!(people.iter().any(|person| person.first_name == "=1+1"), "the apostrophe of a spreadsheet is no part of a name");

        // Again: nothing changes.
        let again = place.import("referrers", &file, &[]).bad().json();
        assert_eq!((&again["imported"], &again["already_there"], &again["bad"]), (&json!(0), &json!(3), &json!(5)));
        assert_eq!(place.referrers().await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_not_understood_stops_everything() {
    let (_folder, url) = goodword_testkit::sqlite_url();
    let place = Place::new(&url).await;
    let file = place.write("a.csv", "email,shoe_size,hat\na@example.com,42,\n");
    let done = place.import("referrers", &file, &[]).bad();
    assert!(done.err.contains("expected the columns email, first_name, ") && done.err.contains("company"), "{}", done.err);
    assert!(done.err.contains("; found shoe_size, hat"), "{}", done.err);
    let misspelt = place.write("c.csv", "E-Mail,fristname,Compny,hat\na@example.com,A,B,C\n");
    let done = place.import("referrers", &misspelt, &[]).bad();
    let found = "found E-Mail (did you mean email?), fristname (did you mean first_name?), Compny (did you mean company?), hat";
    assert!(done.err.contains(found), "{}", done.err);
    place.import("referrers", &file, &["--ignore-column", "shoe_size", "--ignore-column", "hat"]).good();
    for (text, why) in
        [("", "empty"), ("email,email\n", "each column once, but email is there twice"), ("first_name\nA\n", "the column email, which is missing")]
    {
        let file = place.write("b.csv", text);
        let done = place.import("referrers", &file, &[]).bad();
        assert!(done.err.contains(why), "{}", done.err);
    }
    let done = place.run(&["import", "referrers", &file, "--campaign", "Autumn"]).bad();
    assert!(done.err.contains("there is no campaign Autumn"), "{}", done.err);
    let done = place.run(&["import", "referrers", &place.path("none.csv"), "--campaign", "Spring"]).bad();
    assert!(done.err.contains("none.csv"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_keeps_nothing() {
    on_both(async |place| {
        let file = place.write("a.csv", "email\na@example.com\nA@example.com\nx\n");
        let summary = place.import("referrers", &file, &["--dry-run"]).bad().json();
        assert_eq!((&summary["imported"], &summary["already_there"], &summary["bad"]), (&json!(1), &json!(1), &json!(1)));
        assert!(place.referrers().await.is_empty());
        let leads = place.write("l.jsonl", "{\"email\":\"l@example.com\",\"referrer\":\"nobody@example.com\"}\n");
        let done = place.import("leads", &leads, &["--dry-run"]).bad();
        assert!(done.err.contains("line 1: The referrer must exist in the campaign"), "{}", done.err);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows() {
    on_both(async |place| {
        let mut text = String::from("email,first_name,company\n");
        for i in 0..100_000u64 {
            let at = if i % 25_000 == 7 { " at " } else { "@" };
            text.push_str(&format!("person{}{at}example.com,Person,\"Acme, {i}\"\n", i.wrapping_mul(2_654_435_761) % 1_000_003));
        }
        let file = place.write("many.csv", &text);
        let summary = place.import("referrers", &file, &[]).bad().json();
        assert_eq!((&summary["rows"], &summary["imported"], &summary["bad"]), (&json!(100_000), &json!(99_996), &json!(4)), "{summary}");
        let again = place.import("referrers", &file, &[]).bad().json();
        assert_eq!((&again["imported"], &again["already_there"]), (&json!(0), &json!(99_996)), "{again}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leads_qualifications_and_coupons() {
    on_both(async |place| {
        let coupons = place.write("coupons.csv", "code\nTEN-1\nTEN-2\nten-1\nTEN-3\n");
        let summary = place.import("coupons", &coupons, &[]).good().json();
        assert_eq!((&summary["imported"], &summary["already_there"]), (&json!(3), &json!(1)));
        let referrers = place.write("r.csv", "email,code\nana@example.com,ANA\nben@example.com,BEN\n");
        place.import("referrers", &referrers, &[]).good();
        let leads = place.write(
            "l.csv",
            "email,referrer,phone,external_id,status,qualified_at,created_at\n\
             lea@example.com,ANA,,l-1,,,2026-03-01\n\
             leo@example.com,ana@example.com,+49 30 123456,l-2,qualified,2026-04-01,2026-03-02\n\
             ana@example.com,ANA,,,,,\n\
             lea@example.com,BEN,,,,,\n\
             ben@example.com,ANA,,,,,2026-03-03\n\
             zoe@example.com,ana@example.com,call me,,,,\n\
             ida@example.com,ANA,,,rejected,,\n",
        );
        let done = place.import("leads", &leads, &[]).bad();
        let summary = done.json();
        assert_eq!((&summary["imported"], &summary["bad"]), (&json!(4), &json!(3)), "{summary}\n{}", done.err);
        for told in [
            "line 4: Nobody can refer themselves",
            "line 5: The lead belongs to the referrer whose link was used first",
            "line 7: fields.phone: expected a phone number",
        ] {
            assert!(done.err.contains(told), "{}", done.err);
        }
        let again = place.import("leads", &leads, &[]).bad().json();
        assert_eq!((&again["imported"], &again["already_there"], &again["bad"]), (&json!(0), &json!(4), &json!(3)));

        let exported = place.run(&["export", "leads"]).good().out;
        let status = |email: &str| exported.lines().find(|line| line.contains(email)).map(|line| line.split(',').nth(9).unwrap().to_owned()).unwrap();
        assert_eq!(
            (status(",lea@").as_str(), status(",leo@").as_str(), status(",ben@").as_str(), status(",ida@").as_str()),
            ("pending", "qualified", "pending", "rejected")
        );

        for (header, key) in [("external_id", "l-1"), ("email", "leo@example.com"), ("coupon", "TEN-1")] {
            let file = place.write("q.csv", &format!("{header},note\n{key},paid\n"));
            place.run(&["import", "qualifications", &file, "--campaign", "spring"]).good();
        }
        let file = place.write("q.csv", "email\nnobody@example.com\nlea@example.com\n");
        let done = place.run(&["import", "qualifications", &file, "--json"]).bad();
        assert_eq!((&done.json()["already_there"], &done.json()["bad"]), (&json!(1), &json!(1)));
        assert!(done.err.contains("line 2: Nobody in the campaign matches"), "{}", done.err);
        let rewards = place.run(&["export", "rewards"]).good().out;
        assert!(rewards.contains("TEN-1") && rewards.contains(",coupon,"), "{rewards}");
    })
    .await;
}

/// Without the columns that say where a row lives.
fn without_ids(csv_text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(csv_text.as_bytes());
    let own = ["id", "campaign", "referral_link", "source", "leads", "qualified_leads"];
    let kept: Vec<usize> = reader.headers().unwrap().iter().enumerate().filter(|(_, name)| !own.contains(name)).map(|(i, _)| i).collect();
    let mut rows: Vec<Vec<String>> = reader.records().map(|row| kept.iter().map(|i| row.as_ref().unwrap()[*i].to_owned()).collect()).collect();
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_can_be_imported() {
    let (_a, url_a) = goodword_testkit::sqlite_url();
    let from = Place::new(&url_a).await;
    let referrers = from.write(
        "r.csv",
        "email,first_name,last_name,external_id,company,fields.status,code,created_at,suspended_at\n\
         ana@example.com,Łucja,\"O'Brien, \"\"Lu\"\"\",c-1,'=SUM(A1),gold,ANA2024,2026-01-02T03:04:05.678Z,\n\
         ben@example.com,,,,'+49,,BEN2024,2026-02-02,2026-05-05\n",
    );
    from.import("referrers", &referrers, &[]).good();
    let leads = from.write(
        "l.csv",
        "email,first_name,referrer,phone,status,qualified_at,created_at,code\n\
         lea@example.com,'-Lea,ANA2024,'+49 30 123456,qualified,2026-04-01,2026-03-01,LEA2024\n\
         ben@example.com,,ANA2024,030 999999,,,2026-03-03,\n",
    );
    from.import("leads", &leads, &[]).good();
    for format in ["csv", "jsonl"] {
        let (_b, url_b) = goodword_testkit::sqlite_url();
        let to = Place::new(&url_b).await;
        for kind in ["referrers", "leads"] {
            let file = from.path(&format!("{kind}.{format}"));
            from.run(&["export", kind, &file, "--campaign", "Spring"]).good();
            to.import(kind, &file, &[]).good();
        }
        for kind in ["referrers", "leads"] {
            let (a, b) = (from.run(&["export", kind]).good().out, to.run(&["export", kind]).good().out);
            assert_eq!(without_ids(&a), without_ids(&b), "{kind} by {format}");
        }
    }
    let bom = from.run(&["export", "leads", "--bom"]).good().out;
    assert!(bom.starts_with("\u{feff}id,campaign,referrer"));
    let all = from.path("all");
    from.run(&["export", "all", &all, "--format", "jsonl"]).good();
    let signals = std::fs::read_to_string(Path::new(&all).join("signals.jsonl")).unwrap();
    assert!(signals.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|signal| signal["id"].is_string())) && signals.lines().count() >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_whole_and_never_overwrites() {
    let (_folder, url) = goodword_testkit::sqlite_url();
    let place = Place::new(&url).await;
    let file = place.write("r.csv", "email\na@example.com\nb@example.com\n");
    place.import("referrers", &file, &[]).good();
    let to = place.path("backup.db");
    let told = place.run(&["backup", &to, "--verify", "--json"]).good().json();
    assert!(told["rows"].as_u64().unwrap() > 10 && told["bytes"].as_u64().unwrap() > 0, "{told}");
    assert!(place.run(&["backup", &to]).bad().err.contains("never overwrites"));
    let copy = Place { folder: tempfile::tempdir().unwrap(), url: format!("sqlite:{to}") };
    assert_eq!(copy.referrers().await.len(), 2);
    if let Some((_guard, url)) = goodword_testkit::postgres_url() {
        let place = Place { folder: tempfile::tempdir().unwrap(), url };
        assert!(place.run(&["backup", "x"]).bad().err.contains("pg_dump"));
    }
}

#[test]
fn a_backup_without_its_key_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // With a key file of its own, as an installation is.
    let run = |args: &[&str]| {
        let output = command(args).env_remove("GOODWORD_SECRET_KEY").output().unwrap();
        Done { ok: output.status.success(), out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
    };
    let (from, to) = (at("from"), at("to"));
    run(&["demo", "--no-serve", "--size", "small", "--data", &from]).good();
    let told = run(&["backup", &at("copy.db"), "--data", &from]).good().out;
    assert!(told.contains("from/secret.key") && told.contains("no server starts"), "{told}");

    std::fs::create_dir(&to).unwrap();
    std::fs::rename(at("copy.db"), at("to/goodword.db")).unwrap();
    let start = || run(&["serve", "--data", &to, "--listen", "127.0.0.1:0"]).bad().err;
    let key = || {
        let report = run(&["doctor", "--json", "--data", &to, "--listen", "127.0.0.1:0"]).json();
        ["ok", "fail"].map(|level| finding(&report, "secret key", level).map(str::to_owned))
    };
    for _ in 0..2 {
        let err = start();
        assert!(err.contains("is missing") && err.contains("to/secret.key") && err.contains("Put back the secret.key"), "{err}");
        assert!(key()[1].as_ref().unwrap().contains("there is no file"));
        assert!(!Path::new(&at("to/secret.key")).exists(), "a new key would hide that the right one is missing");
    }
    std::fs::write(at("to/secret.key"), "another-key-than-the-one-it-was-made-with").unwrap();
    assert!(start().contains("another secret key"));
    assert!(key()[1].as_ref().unwrap().contains("another one"));
    std::fs::copy(at("from/secret.key"), at("to/secret.key")).unwrap();
    assert!(key()[0].is_some());
    run(&["export", "leads", "--data", &to]).good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_moves_there_and_back() {
    let Some((_guard, postgres)) = goodword_testkit::postgres_url() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    goodword(&["demo", "--no-serve", "--json", "--size", "small", "--data", &data]).good();
    let listed = goodword(&["migrate", "--data", &data, "--dry-run", "--to", &postgres, "--json"]).good().json();
    assert_eq!((&listed["moved"], &listed["fresh"]), (&json!(false), &json!(true)));

    let there = goodword(&["migrate", "--data", &data, "--to", &postgres, "--json"]).good().json();
    assert_eq!(there["equal"], json!(true), "{there}");
    let rows = |moved: &Value, table: &str| moved["tables"].as_array().unwrap().iter().find(|row| row["table"] == table).unwrap()["rows"].as_u64().unwrap();
    assert!(rows(&there, "participants") > 200 && rows(&there, "visits") > 3_000 && rows(&there, "events") > 1_000);
    // A database that is not empty is left alone.
    assert!(goodword(&["migrate", "--data", &data, "--to", &postgres]).bad().err.contains("not empty"));

    // There it goes on: numbers continue, and statistics count what is new only.
    let file = folder.path().join("r.csv");
    std::fs::write(&file, "email\nnewcomer@example.com\n").unwrap();
    let file = file.display().to_string();
    goodword(&["import", "referrers", &file, "--campaign", "northlight", "--data", &data, "--database-url", &postgres]).good();

    let back = format!("sqlite:{}", folder.path().join("back.db").display());
    let moved = goodword(&["migrate", "--data", &data, "--database-url", &postgres, "--to", &back, "--json"]).good().json();
    assert_eq!(moved["equal"], json!(true), "{moved}");
    assert_eq!(rows(&moved, "participants"), rows(&there, "participants") + 1);
    let exported = goodword(&["export", "referrers", "--data", &data, "--database-url", &back]).good().out;
    assert!(exported.contains("newcomer@example.com"));
    assert!(goodword(&["migrate", "--data", &data, "--database-url", &back]).good().out.contains("up to date"));
}

fn finding<'a>(report: &'a Value, check: &str, level: &str) -> Option<&'a str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["check"] == check && finding["level"] == level).and_then(|finding| finding["found"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_wrong() {
    use std::os::unix::fs::PermissionsExt;
    on_both(async |place| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = port.local_addr().unwrap().to_string();
        drop(port);
        std::fs::create_dir(place.path("data")).unwrap();
        std::fs::set_permissions(place.path("data"), std::fs::Permissions::from_mode(0o700)).unwrap();
        let well = place.run(&["doctor", "--json", "--listen", &taken]).json();
        assert!(finding(&well, "schema", "ok").is_some() && finding(&well, "server", "ok").is_some() && finding(&well, "clock", "ok").is_some(), "{well}");
        // The cluster of the tests does not wait for its disk, and the doctor sees it.
        let durable = finding(&well, "durability", "fail").map(|found| found.contains("fsync is off"));
        assert_eq!(durable, place.url.starts_with("postgres").then_some(true), "{well}");

        std::fs::write(Path::new(&place.path("data")).join("goodword.toml"), "metrics_token = 'hush'\n").unwrap();
        std::fs::write(Path::new(&place.path("data")).join("secret.key"), "hush").unwrap();
        std::fs::set_permissions(place.path("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let _other = std::net::TcpListener::bind(&taken).unwrap();
        let ill = place.run(&["doctor", "--json", "--listen", &taken]).bad().json();
        assert_eq!(ill["ok"], json!(false));
        assert!(finding(&ill, "secrets", "fail").unwrap().contains("goodword.toml"));
        assert!(finding(&ill, "data folder", "warn").unwrap().contains("others may look"));
        assert!(finding(&ill, "server", "fail").unwrap().contains("another program"), "{ill}");
        assert!(!ill.to_string().contains("hush"));
        let people = place.run(&["doctor", "--listen", &taken]).bad();
        assert!(people.out.contains("FAIL  secrets") && people.out.contains("→ chmod 600"), "{}", people.out);

        std::fs::write(Path::new(&place.path("data")).join("goodword.toml"), "lissten = 'x'\n").unwrap();
        let ill = place.run(&["doctor", "--json"]).bad().json();
        assert!(finding(&ill, "configuration", "fail").unwrap().contains("lissten"));
    })
    .await;
    let nowhere = goodword(&["doctor", "--json", "--data", "/nowhere/at/all", "--listen", "0.0.0.0:0"]).json();
    assert!(finding(&nowhere, "data folder", "warn").is_some() && finding(&nowhere, "public address", "warn").is_some(), "{nowhere}");
}

/// A server that ends with the test.
struct Server {
    child: Child,
    ready: Value,
    /// Where its temporary folder is.
    folder: tempfile::TempDir,
}

impl Server {
    fn demo() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command(&["demo", "--json", "--size", "small", "--listen", "127.0.0.1:0"]);
        let mut child = child.env("TMPDIR", folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { ready: serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")), child, folder }
    }

    fn url(&self) -> &str {
        self.ready["url"].as_str().unwrap()
    }

    fn run(&self, key: &str, args: &[&str]) -> Done {
        let mut all = args.to_vec();
        all.extend(["--url", self.url()]);
        let output = command(&all).env("GOODWORD_API_KEY", self.ready[key].as_str().unwrap()).output().unwrap();
        Done { ok: output.status.success(), out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
    }
}

impl Server {
    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_running_server_imports_and_exports() {
    let server = Server::demo();
    assert!(server.ready["api_key"].as_str().unwrap().starts_with("gw_live_") && server.ready["test_api_key"].as_str().unwrap().starts_with("gw_test_"));
    assert!(server.ready["campaign_id"].as_str().unwrap().starts_with("cmp_") && server.ready["campaign_integer_id"].as_i64().unwrap() > 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.csv");
    std::fs::write(&file, "email,code\none@example.com,ONE2024\nbad,\ntwo@example.com,\n").unwrap();
    let (file, errors) = (file.display().to_string(), folder.path().join("errors.csv"));
    let errors_path = errors.display().to_string();
    let done = server.run("test_api_key", &["import", "referrers", &file, "--campaign", "Playground", "--json", "--errors", &errors_path]).bad();
    assert_eq!((&done.json()["imported"], &done.json()["bad"]), (&json!(2), &json!(1)), "{}", done.err);
    assert_eq!(std::fs::read_to_string(&errors).unwrap(), "line,reason,email,code\n3,email: expected an e-mail address like priya@example.com,bad,\n");

    let out = server.run("test_api_key", &["export", "referrers"]).good().out;
    assert!(out.contains("one@example.com") && out.contains("priya.shah@example.com") && out.lines().count() == 4, "{out}");
    let leads = server.run("api_key", &["export", "leads", "--format", "jsonl"]).good().out;
    assert!(leads.lines().count() > 200 && leads.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert!(server.run("api_key", &["export", "leads", "--campaign", "none"]).bad().err.contains("There is no such campaign"));
    let refused = command(&["export", "leads", "--url", server.url(), "--api-key", "gw_live_wrong"]).output().unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("API key"));
}

#[test]
fn a_locked_database_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let mut child = command(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let file: PathBuf = folder.path().join("q.csv");
    std::fs::File::create(&file).unwrap().write_all(b"email\na@example.com\n").unwrap();
    let done = goodword(&["import", "qualifications", &file.display().to_string(), "--data", &data]).bad();
    // Go through it where it is, not where one would be.
    let url = line.split_whitespace().last().unwrap();
    assert!(done.err.contains("another goodword process") && done.err.contains(&format!("--url {url}\n")), "{}", done.err);
    // A link to the desk and a backup are made beside it.
    let link = goodword(&["admin", "--data", &data, "--public-url", "https://refer.example"]).good().out;
    assert!(link.starts_with("https://refer.example/app/sign-in/") && link.lines().count() == 1, "{link}");
    assert!(goodword(&["admin", "--data", &data, "--workspace", "Nobody"]).bad().err.contains("there is no workspace Nobody"));
    goodword(&["backup", &folder.path().join("b.db").display().to_string(), "--data", &data, "--verify"]).good();
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    assert!(child.wait().unwrap().success());
}

#[test]
fn workspaces_and_keys_are_made_beside_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let server = process::Setup::sqlite(Path::new(&data)).start();
    // Whoever runs the machine may not have the secret key of the service at hand.
    let run = |args: &[&str]| {
        let output = command(args).env_remove("GOODWORD_SECRET_KEY").args(["--data", &data]).output().unwrap();
        Done { ok: output.status.success(), out: String::from_utf8(output.stdout).unwrap(), err: String::from_utf8(output.stderr).unwrap() }
    };
    let mut client = process::Client::default();
    let mut me = |key: &str| client.ok(server.address, key, "GET", "/v1/me", &json!(null));

    let made = run(&["workspace", "create", "Acme", "--json"]).good().json();
    for (key, test) in [("api_key", false), ("test_api_key", true)] {
        let me = me(made[key].as_str().unwrap());
        assert_eq!((&me["workspace"]["name"], &me["test"]), (&json!("Acme"), &json!(test)), "{me}");
    }
    assert!(run(&["workspace", "create", "Acme"]).bad().err.contains("choose another name"));
    let listed = run(&["workspace", "list", "--json"]).good().json();
    assert_eq!(listed.as_array().unwrap().iter().map(|workspace| &workspace["name"]).collect::<Vec<_>>(), ["My company", "Acme"]);

    assert!(run(&["key", "create"]).bad().err.contains("--workspace NAME"));
    let key = run(&["key", "create", "--workspace", "Acme", "--side", "test", "--name", "Found again"]).good().out;
    let me = me(key.trim());
    assert_eq!((&me["workspace"]["name"], &me["test"]), (&json!("Acme"), &json!(true)), "{me}");
    let link = run(&["admin", "--workspace", made["id"].as_str().unwrap()]).good().out;
    assert!(link.contains("/app/sign-in/"), "{link}");
    server.stop();
    // And without one.
    assert!(run(&["key", "create", "--workspace", "Acme"]).good().out.starts_with("gw_live_"));
    assert!(goodword(&["workspace", "create", "X", "--data", &folder.path().join("none").display().to_string()]).bad().err.contains("not there"));
}

#[test]
fn the_demo_has_something_of_everything() {
    let server = Server::demo();
    let address = server.url().trim_start_matches("http://").parse().unwrap();
    let mut client = process::Client::default();
    let mut all = |path: &str| client.ok(address, server.ready["api_key"].as_str().unwrap(), "GET", path, &json!(null))["data"].as_array().unwrap().clone();
    let words = |rows: &[Value], member: &str| rows.iter().map(|row| row[member].as_str().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>();
    let endpoints = all("/v1/endpoints");
    assert_eq!(words(&endpoints, "status").into_iter().collect::<Vec<_>>(), ["active", "disabled"]);
    // Whatever is still sent goes to this machine.
    assert!(endpoints.iter().all(|endpoint| endpoint["status"] == "disabled" || endpoint["url"].as_str().unwrap().starts_with("http://127.0.0.1")));
    let deliveries = all("/v1/deliveries?limit=250");
    assert_eq!(words(&deliveries, "state").into_iter().collect::<Vec<_>>(), ["delivered", "exhausted", "retrying", "skipped"], "{deliveries:?}");
    let hooks = all("/v1/inbound-hooks");
    let messages = all(&format!("/v1/inbound-hooks/{}/messages", hooks[0]["id"].as_str().unwrap()));
    assert!(words(&messages, "state").is_superset(&["decided".to_owned(), "unmapped".to_owned()].into()), "{messages:?}");
    let campaigns = all("/v1/campaigns");
    assert!(campaigns.iter().any(|campaign| campaign["settings"]["rule"]["goals"].as_array().is_some_and(|goals| goals.len() == 2)), "{campaigns:?}");
    let every = all("/v1/rewards?limit=250").into_iter().filter(|reward| reward["name"].as_str().unwrap().contains("every third")).count();
    assert_eq!(every, 1);
    assert!(!all("/v1/signals?outcome=unchanged").is_empty());
}

#[test]
fn the_demo_leaves_nothing_behind() {
    let mut server = Server::demo();
    let left = |server: &Server| std::fs::read_dir(server.folder.path()).unwrap().count();
    assert_eq!(left(&server), 1);
    server.stop();
    assert_eq!(left(&server), 0);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    goodword(&["demo", "--no-serve", "--size", "small", "--data", &data]).good();
    assert!(goodword(&["demo", "--no-serve", "--data", &data]).bad().err.contains("already"));
}
