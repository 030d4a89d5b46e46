//! The page behind a referral link: what a friend reads, and the form that makes
//! them a lead.

use super::{
    form::Form,
    layout::{Icon, Page, Site, halo, how, icon, ticket},
    message::Message,
    words::{fill, fill_markup, referrer_in},
};
use goodword_core::campaign;
use maud::{Markup, html};

/// Who invites to what.
pub struct Landing<'a> {
    pub site: Site<'a>,
    pub words: &'a campaign::Words,
    /// The referrer's first name, as far as it can be shown
    /// ([`super::words::first_name`]).
    pub referrer: Option<&'a str>,
    /// The code, as it stands on the ticket.
    pub code: &'a str,
    /// What the friend gets.
    pub reward: Option<&'a str>,
    pub form: Form<'a>,
}

impl Landing<'_> {
    /// A template with its slots filled in.
    fn say(&self, template: &str, emphasise: bool) -> Markup {
        let words = self.site.language.words();
        let reward = self.reward.unwrap_or(words.a_reward);
        fill_markup(template, |slot| match slot {
            "referrer" => Some(html! { bdi { (referrer_in(template, self.referrer, words)) } }),
            "reward" if emphasise => Some(html! { em { (reward) } }),
            "reward" => Some(html! { (reward) }),
            "company" => Some(html! { bdi { (self.site.company) } }),
            _ => None,
        })
    }

    fn plain(&self, template: &str) -> String {
        fill_offer(template, &self.site, self.referrer, self.reward)
    }

    /// The headline's template, and whether it is the campaign's own.
    fn headline(&self) -> (&str, bool) {
        let words = self.site.language.words();
        match &self.words.headline {
            Some(own) => (own.as_str(), true),
            None if self.reward.is_some() => (words.offer, false),
            None => (words.offer_plain, false),
        }
    }

    /// The text on the button: the campaign's, or one that fits.
    pub fn button(site: &Site, own: &campaign::Words, reward: bool) -> Markup {
        let words = site.language.words();
        match &own.button {
            Some(button) => site.own(button.as_str()),
            None => html! { (if reward { words.offer_button } else { words.offer_plain_button }) },
        }
    }

    /// What stands below the button.
    pub fn privacy(site: &Site, referrer: Option<&str>) -> Markup {
        let words = site.language.words();
        fill_markup(words.offer_privacy, |_| Some(html! { bdi { (referrer_in(words.offer_privacy, referrer, words)) } }))
    }

    pub fn html(&self) -> Markup {
        let (site, words) = (&self.site, self.site.language.words());
        let (headline, own) = self.headline();
        let emphasised = self.say(headline, true);
        let title = self.plain(headline);
        let lede = match &self.words.text {
            Some(_) => None,
            None if self.reward.is_some() => Some(words.offer_lede),
            None => Some(words.offer_plain_lede),
        };
        let steps = |[what, more]: [&str; 2]| [self.say(what, false), self.say(more, false)];
        let last = if self.reward.is_some() { words.friend_how[2] } else { words.friend_how_last_plain };
        let body = html! {
            section.hero.offer aria-labelledby="h" {
                (halo())
                div.say {
                    h1 #h { @if own { (site.own(emphasised)) } @else { (emphasised) } }
                    @if let Some(lede) = lede { p.lede { (self.say(lede, false)) } }
                    @if let Some(text) = &self.words.text { (site.own_paragraphs("lede", &self.plain(text))) }
                    @if let Some(reward) = self.reward {
                        div.tickets aria-hidden="true" {
                            (ticket(words.for_you, reward, self.referrer.map(|_| self.say(words.from, false)), Icon::Gift, Some(self.code)))
                        }
                    }
                }
                div.card {
                    h2 { (if self.reward.is_some() { words.offer_form } else { words.offer_plain_form }) }
                    (self.form.html(site))
                }
            }
            (how(words, &[steps(words.friend_how[0]), steps(words.friend_how[1]), steps(last)]))
        };
        let title = if self.form.has_trouble() { fill(words.error_title, &[("title", &title)]) } else { title };
        let description = self.words.text.as_deref().map_or_else(|| self.plain(lede.unwrap_or_default()), |text| shorten(&self.plain(text)));
        Page { site, title, description: Some(description), corner: None, body }.html()
    }
}

/// A template of the offer as plain text; also what is proposed for sharing.
pub fn fill_offer(template: &str, site: &Site, referrer: Option<&str>, reward: Option<&str>) -> String {
    let words = site.language.words();
    fill(template, &[("referrer", &referrer_in(template, referrer, words)), ("reward", reward.unwrap_or(words.a_reward)), ("company", site.company)])
}

/// As much as messengers show of a page.
fn shorten(text: &str) -> String {
    const LENGTH_MAX: usize = 160;
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", flat[..end].rsplit_once(' ').map_or(&flat[..end], |(words, _)| words)),
        None => flat,
    }
}

/// After the form.
pub struct Thanks<'a> {
    pub site: Site<'a>,
    pub words: &'a campaign::Words,
    pub referrer: Option<&'a str>,
    pub reward: Option<&'a str>,
    /// The company's own page, with the code as its parameter.
    pub destination: Option<&'a str>,
}

impl Thanks<'_> {
    pub fn html(&self) -> Markup {
        let (site, words) = (&self.site, self.site.language.words());
        let say = |template: &str| fill_offer(template, site, self.referrer, self.reward);
        let body = html! {
            section.hero.centre aria-labelledby="h" {
                (halo())
                div.say {
                    div.sign aria-hidden="true" { (icon(Icon::Check)) }
                    h1 #h { (words.thanks) }
                    @match &self.words.thanks {
                        Some(own) => (site.own_paragraphs("lede", &say(own))),
                        None => p.lede { (say(words.thanks_text)) },
                    }
                    @if let Some(destination) = self.destination {
                        a.p-btn.go href=(destination) { span { (site.say(words.go_to)) } (icon(Icon::Arrow)) }
                    }
                }
            }
        };
        Page { site, title: words.thanks.to_owned(), description: None, corner: None, body }.html()
    }
}

/// Why a link leads to no offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The campaign is a draft, or starts later.
    NotStarted,
    Paused,
    Ended,
    /// The referrer's limit is reached.
    UsedUp,
    /// The address is the referrer's own.
    OwnLink,
    /// The address takes part already.
    Already,
}

/// Kind words and the normal way in.
pub fn closed(site: &Site, why: Closed) -> Markup {
    let words = site.language.words();
    let (sign, title, text) = match why {
        Closed::NotStarted => (Icon::Clock, words.not_started, words.not_started_text),
        Closed::Paused => (Icon::Pause, words.paused, words.paused_text),
        Closed::Ended => (Icon::Clock, words.ended, words.ended_text),
        Closed::UsedUp => (Icon::Check, words.used_up, words.used_up_text),
        Closed::OwnLink => (Icon::User, words.own_link, words.own_link_text),
        Closed::Already => (Icon::Check, words.already, words.already_text),
    };
    Message { site, sign, title, text: site.say(text), detail: None, action: Message::way_in(site) }.html()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{form::Input, words::Language},
        *,
    };
    use serde_json::json;

    fn page(language: &str, words: serde_json::Value, referrer: Option<&str>, reward: Option<&str>) -> String {
        let (language, words, input) = (Language::new(language), serde_json::from_value(words).unwrap(), Input::default());
        let site = Site { company: "Northlight & Co", home: Some("https://northlight.example/"), terms: None, language: &language, test: false };
        let form = Form {
            action: "/PRIYA24K",
            token: "t",
            fields: &[],
            button: Landing::button(&site, &words, reward.is_some()),
            privacy: Landing::privacy(&site, referrer),
            input: &input,
            mistakes: &[],
            again: false,
        };
        Landing { site, words: &words, referrer, code: "PRIYA24K", reward, form }.html().into_string()
    }

    #[test]
    fn the_headline_says_who_gives_what() {
        let html = page("en", json!({}), Some("Priya"), Some("10% off"));
        assert!(html.contains("<bdi>Priya</bdi> gives you <em>10% off</em></h1>"), "{html}");
        assert!(html.contains("<title>Priya gives you 10% off · Northlight &amp; Co</title>"));
        let html = page("de", json!({}), Some("Priya"), None);
        assert!(html.contains("<bdi>Priya</bdi> lädt Sie zu <bdi>Northlight &amp; Co</bdi> ein</h1>"), "{html}");
        assert!(html.contains(r#"<html lang="de" dir="ltr">"#));
    }

    #[test]
    fn the_campaigns_words_are_text_and_nothing_more() {
        let html = page(
            "en",
            json!({"headline": "<b>{reward}</b> from {referrer}{x}", "text": "One\r\nline\n\n<script>alert(1)</script>", "button": "<Go>"}),
            Some("<script>"),
            Some("{referrer}"),
        );
        assert!(html.contains("&lt;b&gt;<em>{referrer}</em>&lt;/b&gt; from <bdi>&lt;script&gt;</bdi>{x}</h1>"), "{html}");
        assert!(html.contains(r#"<p class="lede">One<br>line</p><p class="lede">&lt;script&gt;"#), "{html}");
        assert!(html.contains("&lt;Go&gt;"));
        assert_eq!(html.matches("<script").count(), 1, "only our own script");
    }

    #[test]
    fn a_language_we_do_not_speak_is_marked() {
        let html = page("ar", json!({"headline": "هدية من {referrer}"}), Some("مها"), None);
        assert!(html.contains(r#"<html lang="ar" dir="rtl">"#) && html.contains(r#"<body lang="en">"#));
        assert!(html.contains(r#"<h1 id="h"><span lang="ar" dir="auto">هدية من <bdi>مها</bdi></span></h1>"#), "{html}");
    }

    #[test]
    fn nobody_is_lost_before_a_closed_door() {
        let language = Language::new("en");
        let site = Site { company: "Northlight", home: Some("https://northlight.example/"), terms: None, language: &language, test: false };
        for why in [Closed::NotStarted, Closed::Paused, Closed::Ended, Closed::UsedUp, Closed::OwnLink, Closed::Already] {
            let html = closed(&site, why).into_string();
            assert!(html.contains(r#"href="https://northlight.example/""#) && html.matches("<h1").count() == 1, "{why:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_words() {
        let text = shorten(&"ähm well ".repeat(100));
        assert!(text.chars().count() <= 161 && (text.ends_with("well…") || text.ends_with("ähm…")), "{text}");
    }
}
