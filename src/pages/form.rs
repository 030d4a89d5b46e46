//! Forms of the public pages: what comes in, what is wrong with it, how it is shown
//! again, and how machines are told from people without asking a third party.
//!
//! Four things stand between a form and a machine or a foreign site. None of them
//! ever loses what a person has written: the page comes back with every answer.
//!
//! 1. [`same_site`]: browsers say where a form was sent from. What another site sends
//!    is refused. (This is the protection against request forgery; the visitor's
//!    cookie is `SameSite=Lax` besides.)
//! 2. A token in the page, signed with the installation's key, bound to this page, good
//!    for a day. A program has to fetch the page before it can send the form.
//! 3. The token carries when the page was made. Nobody reads and answers a form in
//!    under two seconds.
//! 4. A field that people cannot see and that programs like to fill in.

use super::{
    layout::{Icon, Site, icon},
    sign::Signer,
    words::{fill, fill_markup},
};
use goodword_core::{
    campaign::{Field, FieldKind},
    text::{Email, Line},
    time::{DAY_MS, SECOND_MS, Timestamp},
};
use maud::{Markup, html};
use serde_json::{Map, Value};

/// A page that was opened yesterday can still be sent today.
const TOKEN_AGE_MS_MAX: i64 = DAY_MS;
/// With a browser that fills in everything, a person still needs longer than this.
const TOKEN_AGE_MS_MIN: i64 = 2 * SECOND_MS;
/// Two nodes' clocks may differ this much.
const CLOCK_SKEW_MS: i64 = 60 * SECOND_MS;

const FIRST_NAME: &str = "first_name";
const EMAIL: &str = "email";
const TERMS: &str = "terms";
const TOKEN: &str = "form_token";
/// Sounds worth filling in to a program, means nothing to a browser's autofill.
const TRAP: &str = "your_homepage_title";
/// Extra fields are called `field.{key}`: no key can be mistaken for one of ours.
const FIELD: &str = "field.";

/// What was sent, as names and values in their order.
#[derive(Debug, Clone, Default)]
pub struct Input(Vec<(String, String)>);

impl Input {
    /// Reads `application/x-www-form-urlencoded`. The caller bounds its length.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// The value of a name, trimmed; empty where it was not sent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    fn field(&self, key: &str) -> &str {
        self.get(&format!("{FIELD}{key}"))
    }

    fn token(&self) -> &str {
        self.get(TOKEN)
    }
}

/// Why a form should be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The hidden field was filled in.
    Trapped,
    TooFast,
    Expired,
    /// The token is missing, of another page or not ours.
    Unsigned,
}

/// Signs the forms of an installation and checks what comes back.
#[derive(Clone)]
pub struct Guard(Signer);

impl Guard {
    pub fn new(secret: &[u8]) -> Self {
        Self(Signer::new(secret, "goodword form 1"))
    }

    /// A token for a page that is made now. `page` is the form's address.
    pub fn token(&self, page: &str, now: Timestamp) -> String {
        self.0.seal(page, &now.ms().to_be_bytes())
    }

    /// When the page was made, if the token is ours and of this page.
    fn made_at(&self, page: &str, token: &str) -> Option<i64> {
        Some(i64::from_be_bytes(self.0.open(page, token)?.try_into().ok()?))
    }

    /// Whether a person sent this from our page, as far as one can tell.
    pub fn check(&self, page: &str, input: &Input, now: Timestamp) -> Result<(), Again> {
        let made_at = self.made_at(page, input.token()).ok_or(Again::Unsigned)?;
        let age_ms = now.ms().saturating_sub(made_at);
        if !(-CLOCK_SKEW_MS..=TOKEN_AGE_MS_MAX).contains(&age_ms) {
            Err(Again::Expired)
        } else if age_ms < TOKEN_AGE_MS_MIN {
            Err(Again::TooFast)
        } else if !input.get(TRAP).is_empty() {
            Err(Again::Trapped)
        } else {
            Ok(())
        }
    }

    /// The token for a page that comes back: the one it had while that is good, so that
    /// a person who mends one answer quickly is not held up again.
    pub fn token_again(&self, page: &str, input: &Input, now: Timestamp) -> String {
        match self.check(page, input, now) {
            Ok(()) | Err(Again::TooFast | Again::Trapped) => input.token().to_owned(),
            Err(Again::Expired | Again::Unsigned) => self.token(page, now),
        }
    }
}

/// Whether a form was sent from a page of this host, by what the browser says of
/// itself (`Sec-Fetch-Site`, or else `Origin`). Programs that are no browser say
/// nothing, and cannot be made to send a form with somebody else's cookie.
pub fn same_site(sec_fetch_site: Option<&str>, origin: Option<&str>, hosts: &[&str]) -> bool {
    match (sec_fetch_site, origin) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            !host.is_empty() && hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
        }
        (None, None) => true,
    }
}

/// Who filled in the form, every value checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    pub first_name: Line,
    pub email: Email,
    /// The extra fields, canonical, by key. What was left empty is not there.
    pub fields: Map<String, Value>,
}

/// What is wrong with one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The name of the input.
    pub name: String,
    pub message: String,
}

/// Reads a person from what was sent, or says everything that has to be mended.
pub fn read(input: &Input, fields: &[Field], site: &Site) -> Result<Person, Vec<Mistake>> {
    let words = site.language.words();
    let mut mistakes = Vec::new();
    let mut mistake = |name: String, message: String| mistakes.push(Mistake { name, message });

    let first_name = input.get(FIRST_NAME).parse::<Line>();
    if first_name.is_err() {
        mistake(FIRST_NAME.to_owned(), words.err_first_name.to_owned());
    }
    let email = input.get(EMAIL).parse::<Email>();
    if email.is_err() {
        mistake(EMAIL.to_owned(), words.err_email.to_owned());
    }
    let mut values = Map::new();
    for field in fields {
        match answer(field, input.field(&field.key)) {
            Ok(Some(value)) => _ = values.insert(field.key.clone(), value),
            Ok(None) => {}
            Err(message) => mistake(
                format!("{FIELD}{}", field.key),
                fill(message(words), &[("label", field.label.as_str()), ("count", &site.language.number(TEXT_LEN_MAX as i64))]),
            ),
        }
    }
    if site.terms.is_some() && input.get(TERMS).is_empty() {
        mistake(TERMS.to_owned(), words.err_terms.to_owned());
    }
    match (first_name, email) {
        (Ok(first_name), Ok(email)) if mistakes.is_empty() => Ok(Person { first_name, email, fields: values }),
        _ => Err(mistakes),
    }
}

/// As long as [`Field::check`] takes.
const TEXT_LEN_MAX: usize = 1_000;

type Message = fn(&super::words::Words) -> &'static str;

/// The canonical value of an answer, or what to say. It takes what people write:
/// a comma in a number, a web address without its beginning.
fn answer(field: &Field, text: &str) -> Result<Option<Value>, Message> {
    if field.kind == FieldKind::Checkbox {
        let ticked = !text.is_empty();
        return if field.required && !ticked { Err(|words| words.err_tick) } else { Ok(Some(ticked.into())) };
    }
    if text.is_empty() {
        let missing: Message = if field.kind == FieldKind::Select { |words| words.err_choice } else { |words| words.err_needed };
        return if field.required { Err(missing) } else { Ok(None) };
    }
    if text.chars().count() > TEXT_LEN_MAX {
        return Err(|words| words.err_long);
    }
    let text = match field.kind {
        FieldKind::Number if text.matches(',').count() == 1 && !text.contains('.') => text.replace(',', "."),
        FieldKind::Url if !text.contains("://") => format!("https://{text}"),
        _ => text.replace("\r\n", "\n"),
    };
    let wrong: Message = match field.kind {
        FieldKind::Text | FieldKind::Checkbox => |words| words.err_needed,
        FieldKind::Phone => |words| words.err_phone,
        FieldKind::Url => |words| words.err_url,
        FieldKind::Number => |words| words.err_number,
        FieldKind::Date => |words| words.err_date,
        FieldKind::Select => |words| words.err_choice,
    };
    field.check(&text.into()).map(Some).map_err(|_| wrong)
}

/// A form to be shown: empty, or with the answers and what is wrong with them.
pub struct Form<'a> {
    pub action: &'a str,
    pub token: &'a str,
    pub fields: &'a [Field],
    pub button: Markup,
    /// Below the button: what becomes of the answers.
    pub privacy: Markup,
    pub input: &'a Input,
    pub mistakes: &'a [Mistake],
    /// Whether to ask for it once more, because of [`Again`].
    pub again: bool,
}

impl Form<'_> {
    pub fn has_trouble(&self) -> bool {
        self.again || !self.mistakes.is_empty()
    }

    /// What to mend, to stand above the form.
    pub fn summary(&self, site: &Site) -> Markup {
        let words = site.language.words();
        html! {
            @if self.again {
                div.notice role="alert" tabindex="-1" autofocus {
                    (icon(Icon::Info))
                    div { p { b { (words.again_title) } } p { (words.again_text) } }
                }
            } @else if !self.mistakes.is_empty() {
                div.notice.bad role="alert" tabindex="-1" autofocus {
                    (icon(Icon::Alert))
                    div {
                        p { b { (words.check_these) } }
                        ul { @for mistake in self.mistakes { li { a href=(format!("#{}", id(&mistake.name))) { (mistake.message) } } } }
                    }
                }
            }
        }
    }

    pub fn html(&self, site: &Site) -> Markup {
        let words = site.language.words();
        html! {
            // The browser's own checks speak the browser's language; ours speak the page's.
            form.form method="post" action=(self.action) novalidate {
                (self.summary(site))
                p.note { (words.required_note) }
                (self.row(FIRST_NAME, html! { (words.first_name) }, true, |name, described, bad| html! {
                    input id=(id(name)) name=(name) type="text" autocomplete="given-name" autocapitalize="words" maxlength="200" required aria-invalid=[bad] aria-describedby=[described] value=(self.input.get(name));
                }))
                (self.row(EMAIL, html! { (words.email) }, true, |name, described, bad| html! {
                    input id=(id(name)) name=(name) type="email" autocomplete="email" inputmode="email" autocapitalize="none" spellcheck="false" maxlength="254" required aria-invalid=[bad] aria-describedby=[described] value=(self.input.get(name));
                }))
                @for field in self.fields { (self.extra(site, field)) }
                @if let Some(terms) = site.terms {
                    (self.tick(TERMS, fill_markup(words.agree, |_| Some(html! { a href=(terms) target="_blank" rel="noopener" { (words.terms) } })), true))
                }
                // Nobody sees, reaches or fills this in but programs; see above.
                div.away aria-hidden="true" {
                    label { (words.leave_empty) input name=(TRAP) type="text" tabindex="-1" autocomplete="off" value=""; }
                }
                input type="hidden" name=(TOKEN) value=(self.token);
                button.p-btn.go type="submit" { span { (self.button) } (icon(Icon::Arrow)) }
                p.note { (self.privacy) }
            }
        }
    }

    fn extra(&self, site: &Site, field: &Field) -> Markup {
        let name = format!("{FIELD}{}", field.key);
        let label = site.own(field.label.as_str());
        let value = self.input.get(&name).to_owned();
        // Form control, what the keyboard should be, what the browser may know.
        let (kind, mode, known) = match field.kind {
            FieldKind::Checkbox => return self.tick(&name, label, field.required),
            FieldKind::Select => {
                return self.row(&name, label, field.required, |name, described, bad| {
                    html! {
                        select id=(id(name)) name=(name) required[field.required] aria-invalid=[bad] aria-describedby=[described] {
                            option value="" { (site.language.words().choose) }
                            @for option in &field.options { option value=(option.as_str()) selected[option.as_str() == value] { (option.as_str()) } }
                        }
                    }
                });
            }
            FieldKind::Text => ("text", None, known_as(&field.key)),
            FieldKind::Phone => ("tel", None, Some("tel")),
            // A web address is taken without its beginning, which `url` would refuse.
            FieldKind::Url => ("text", Some("url"), Some("url")),
            FieldKind::Number => ("text", Some("decimal"), None),
            FieldKind::Date => ("date", None, if field.key.contains("birth") { Some("bday") } else { None }),
        };
        self.row(&name, label, field.required, |name, described, bad| {
            html! {
                input id=(id(name)) name=(name) type=(kind) inputmode=[mode] autocomplete=[known] maxlength="1000" required[field.required] aria-invalid=[bad] aria-describedby=[described] value=(value);
            }
        })
    }

    fn mistake(&self, name: &str) -> Option<&Mistake> {
        self.mistakes.iter().find(|mistake| mistake.name == name)
    }

    /// Label, mistake and control. The control is given its name, the id of the
    /// mistake, and whether there is one.
    fn row(&self, name: &str, label: Markup, required: bool, control: impl FnOnce(&str, Option<String>, Option<&'static str>) -> Markup) -> Markup {
        let mistake = self.mistake(name);
        let described = mistake.map(|_| error_id(name));
        html! {
            div.row.bad[mistake.is_some()] {
                label for=(id(name)) { (label) (star(required)) }
                (complaint(mistake))
                (control(name, described, mistake.map(|_| "true")))
            }
        }
    }

    fn tick(&self, name: &str, label: Markup, required: bool) -> Markup {
        let mistake = self.mistake(name);
        html! {
            div.row.tick.bad[mistake.is_some()] {
                (complaint(mistake))
                input id=(id(name)) name=(name) type="checkbox" value="yes" required[required] checked[!self.input.get(name).is_empty()] aria-invalid=[mistake.map(|_| "true")] aria-describedby=[mistake.map(|_| error_id(name))];
                label for=(id(name)) { (label) (star(required)) }
            }
        }
    }
}

fn star(required: bool) -> Markup {
    html! { @if required { span.star aria-hidden="true" { "\u{a0}*" } } }
}

fn complaint(mistake: Option<&Mistake>) -> Markup {
    html! { @if let Some(mistake) = mistake { p.wrong id=(error_id(&mistake.name)) { (icon(Icon::Alert)) (mistake.message) } } }
}

fn id(name: &str) -> String {
    format!("f-{}", name.replace('.', "-"))
}

fn error_id(name: &str) -> String {
    format!("e-{}", name.replace('.', "-"))
}

/// What browsers call a field that many campaigns ask for (WCAG 1.3.5).
fn known_as(key: &str) -> Option<&'static str> {
    Some(match key {
        "company" | "organisation" | "organization" => "organization",
        "job_title" | "position" | "role" => "organization-title",
        "surname" | "family_name" => "family-name",
        "city" | "town" => "address-level2",
        "postcode" | "postal_code" | "zip" | "zip_code" => "postal-code",
        "country" => "country-name",
        "address" | "street" => "street-address",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::words::Language, *};
    use serde_json::json;

    const PAGE: &str = "/PRIYA24K";
    const NOON: Timestamp = Timestamp::from_ms(1_795_000_000_000);

    fn guard() -> Guard {
        Guard::new(b"a key of the installation")
    }

    fn sent(token: &str, more: &str) -> Input {
        Input::parse(format!("{TOKEN}={token}&first_name=Maya&email=maya%40example.com{more}").as_bytes())
    }

    #[test]
    fn a_form_that_a_person_sent_passes() {
        let token = guard().token(PAGE, NOON);
        for age_ms in [2_000, 60_000, DAY_MS] {
            assert_eq!(guard().check(PAGE, &sent(&token, &format!("&{TRAP}=")), NOON.plus_ms(age_ms)), Ok(()));
        }
    }

    #[test]
    fn what_is_too_fast_or_too_old_comes_back() {
        let input = sent(&guard().token(PAGE, NOON), "");
        assert_eq!(guard().check(PAGE, &input, NOON.plus_ms(1_999)), Err(Again::TooFast));
        assert_eq!(guard().check(PAGE, &input, NOON.plus_ms(-1_000)), Err(Again::TooFast));
        assert_eq!(guard().check(PAGE, &input, NOON.plus_ms(DAY_MS + 1)), Err(Again::Expired));
        assert_eq!(guard().check(PAGE, &input, NOON.plus_ms(-DAY_MS)), Err(Again::Expired));
    }

    #[test]
    fn a_token_is_good_for_its_page_and_installation_only() {
        let (token, later) = (guard().token(PAGE, NOON), NOON.plus_ms(10_000));
        assert_eq!(guard().check("/join/SPRING", &sent(&token, ""), later), Err(Again::Unsigned));
        assert_eq!(Guard::new(b"another key").check(PAGE, &sent(&token, ""), later), Err(Again::Unsigned));
        for token in ["", "x", "%00", &token[..token.len() - 1], &token[..11], &format!("{token}AAAA")] {
            assert_eq!(guard().check(PAGE, &sent(token, ""), later), Err(Again::Unsigned), "{token}");
        }
    }

    #[test]
    fn programs_fill_in_everything() {
        let input = sent(&guard().token(PAGE, NOON), &format!("&{TRAP}=cheap+watches"));
        assert_eq!(guard().check(PAGE, &input, NOON.plus_ms(10_000)), Err(Again::Trapped));
    }

    #[test]
    fn the_second_attempt_of_a_person_passes() {
        let token = guard().token(PAGE, NOON);
        // Too fast: the page comes back with the same token, which ripens.
        let again = guard().token_again(PAGE, &sent(&token, ""), NOON.plus_ms(500));
        assert_eq!(guard().check(PAGE, &sent(&again, ""), NOON.plus_ms(2_500)), Ok(()));
        // Too old: it comes back with a fresh one.
        let next_day = NOON.plus_ms(2 * DAY_MS);
        let again = guard().token_again(PAGE, &sent(&token, ""), next_day);
        assert_eq!(guard().check(PAGE, &sent(&again, ""), next_day.plus_ms(2_500)), Ok(()));
    }

    #[test]
    fn other_sites_cannot_send_our_forms() {
        let hosts = ["refer.example:8080"];
        for (site, origin, expected) in [
            (Some("same-origin"), Some("https://proxy.example"), true),
            (Some("none"), None, true),
            (Some("same-site"), Some("https://refer.example:8080"), false),
            (Some("cross-site"), None, false),
            (None, Some("https://refer.example:8080"), true),
            (None, Some("https://REFER.example:8080"), true),
            (None, Some("https://refer.example"), false),
            (None, Some("https://evil.example"), false),
            (None, Some("null"), false),
            (None, Some(""), false),
            (None, None, true),
        ] {
            assert_eq!(same_site(site, origin, &hosts), expected, "{site:?} {origin:?}");
        }
    }

    fn fields() -> Vec<Field> {
        serde_json::from_value(json!([
            {"key": "company", "label": "Company", "required": true},
            {"key": "phone", "label": "Phone", "kind": "phone"},
            {"key": "site", "label": "Website", "kind": "url"},
            {"key": "seats", "label": "Seats", "kind": "number"},
            {"key": "start", "label": "Start", "kind": "date"},
            {"key": "plan", "label": "Plan", "kind": "select", "options": ["Small", "Large"], "required": true},
            {"key": "news", "label": "Newsletter", "kind": "checkbox"},
        ]))
        .unwrap()
    }

    fn site<'a>(language: &'a Language, terms: Option<&'a str>) -> Site<'a> {
        Site { company: "Northlight", home: None, terms, language, test: false }
    }

    #[test]
    fn answers_are_read_the_way_people_write() {
        let language = Language::new("de");
        let input = Input::parse(b"first_name=+Maya+&email=Maya%40Example.com&field.company=Rosen+%26+Co&field.site=rosen.example&field.seats=12%2C5&field.start=2026-12-01&field.plan=large&field.news=yes&terms=yes");
        let person = read(&input, &fields(), &site(&language, Some("https://x.example/terms"))).unwrap();
        assert_eq!(person.first_name.as_str(), "Maya");
        assert_eq!(person.email.as_str(), "Maya@Example.com");
        assert_eq!(
            Value::Object(person.fields),
            json!({"company": "Rosen & Co", "site": "https://rosen.example/", "seats": 12.5, "start": "2026-12-01", "plan": "Large", "news": true})
        );
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let language = Language::new("en");
        let input = Input::parse(b"email=maya&field.phone=call+me&field.site=javascript%3A%2F%2Fx&field.seats=many&field.start=tomorrow&field.plan=Huge");
        let mistakes = read(&input, &fields(), &site(&language, Some("https://x.example/terms"))).unwrap_err();
        let names: Vec<&str> = mistakes.iter().map(|mistake| mistake.name.as_str()).collect();
        assert_eq!(names, ["first_name", "email", "field.company", "field.phone", "field.site", "field.seats", "field.start", "field.plan", "terms"]);
        assert_eq!(mistakes[2].message, "Answer “Company”.");
    }

    #[test]
    fn a_form_comes_back_with_everything_that_was_written() {
        let language = Language::new("en");
        let site = site(&language, None);
        let fields = fields();
        let input = Input::parse(b"first_name=%3Cscript%3E%22&email=x&field.plan=Large&field.news=on&your_homepage_title=spam");
        let mistakes = read(&input, &fields, &site).unwrap_err();
        let form = Form {
            action: "/PRIYA24K",
            token: "t",
            fields: &fields,
            button: html! { "Go" },
            privacy: html! {},
            input: &input,
            mistakes: &mistakes,
            again: false,
        };
        let page = form.html(&site).into_string();
        assert!(page.contains(r#"value="&lt;script&gt;&quot;""#));
        assert!(page.contains(r#"<option value="Large" selected>"#));
        assert!(page.contains(r#"type="checkbox" value="yes" checked"#));
        assert!(!page.contains("spam"), "the hidden field comes back empty");
        assert!(page.contains(r##"<a href="#f-email">"##) && page.contains(r#"id="f-email""#));
        assert!(page.contains(r#"aria-invalid="true" aria-describedby="e-email""#) && page.contains(r#"id="e-email""#));
        assert_eq!(page.matches("<label").count(), 2 + fields.len() + 1, "every control has its label");
    }
}
