//! A referrer's own page: the link, how it goes, who came.

use super::{
    join,
    layout::{Icon, Page, Site, halo, icon},
    qr::Qr,
    share::{self, Share, Social},
    words::{Language, fill, short_name},
};
use goodword_core::{money::Money, time::Timestamp};
use maud::{Markup, html};

pub struct Referrer<'a> {
    pub site: Site<'a>,
    /// As far as it can be shown ([`super::words::first_name`]).
    pub first_name: Option<&'a str>,
    pub code: &'a str,
    /// The whole link, with scheme and host.
    pub link: &'a str,
    /// What is offered for sharing, slots filled in.
    pub share: Share<'a>,
    pub standing: Standing,
    pub gives: Option<&'a str>,
    pub gets: Option<&'a str>,
    pub visits: i64,
    pub leads: i64,
    pub qualified: i64,
    /// What is theirs, one entry per currency and kind of point.
    pub earned: Vec<Amount>,
    pub on_its_way: Vec<Amount>,
    /// Codes they were given, with what each is for.
    pub coupons: Vec<(String, String)>,
    pub next: Option<Goal>,
    /// The latest ones.
    pub people: Vec<Referred>,
    /// How many there are beyond those.
    pub more_people: i64,
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    Paused,
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    Money(Money),
    Units { units: i64, metric: String },
}

impl Amount {
    fn text(&self, language: &Language) -> String {
        match self {
            Amount::Money(money) => language.money(money),
            Amount::Units { units, metric } => format!("{} {metric}", language.number(*units)),
        }
    }
}

/// The next step of a milestone reward.
pub struct Goal {
    pub reached: i64,
    pub goal: i64,
    pub reward: String,
}

/// Somebody who came by the link.
pub struct Referred {
    pub first_name: String,
    pub last_name: String,
    pub since: Timestamp,
    pub state: State,
}

/// How it stands with somebody, as a person would say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Joined,
    Customer {
        since: Timestamp,
    },
    /// A customer, and the reward for it.
    Coming {
        since: Timestamp,
        reward: Amount,
        on: Option<Timestamp>,
    },
    Sent {
        since: Timestamp,
        reward: Amount,
    },
    NotCounted,
}

impl Referrer<'_> {
    pub fn html(&self) -> Markup {
        let (site, words) = (&self.site, self.site.language.words());
        let (headline, _) = join::headline(site, self.gives, self.gets);
        let body = html! {
            @match self.standing {
                Standing::Open => {},
                Standing::Paused => div.notice role="status" { (icon(Icon::Pause)) p { (words.standing_paused) } },
                Standing::Ended => div.notice role="status" { (icon(Icon::Clock)) p { (words.standing_ended) } },
            }
            section.hero aria-labelledby="h" {
                (halo())
                div.say {
                    h1 #h { (headline) }
                    p.lede { (site.say(words.me_lede)) }
                    (self.link_box())
                    (self.share_buttons())
                }
                (join::tickets(site, self.gives, self.gets, Some(self.code)))
            }
            div.tiles {
                @if let Some(goal) = &self.next { (self.goal(goal)) }
                (self.rewards())
                (self.results())
            }
            div.two {
                (self.people())
                (self.qr())
            }
            div.two.even {
                (join::referrer_steps(site, self.gets))
                section.panel.faq aria-labelledby="faq" {
                    h2 #faq { (words.good_to_know) }
                    @for [question, answer] in words.questions { details { summary { (question) (icon(Icon::Plus)) } p { (answer) } } }
                }
            }
        };
        let corner = self.first_name.map(|name| html! { span.who { span.sr { (fill(words.page_of, &[("name", name)])) } bdi aria-hidden="true" { (name) } } });
        Page { site, title: words.me_title.to_owned(), description: None, corner, body }.html()
    }

    fn link_box(&self) -> Markup {
        let words = self.site.language.words();
        let shown = self.link.split_once("://").map_or(self.link, |(_, rest)| rest);
        html! {
            div.linkbox {
                label.sr for="link" { (words.your_link) }
                input #link type="text" readonly dir="ltr" value=(shown) data-whole=(self.link);
                button.scripted type="button" data-copy=(self.link) data-done=(words.link_copied) {
                    (icon(Icon::Copy)) span data-label=(words.copy_link) { (words.copy_link) }
                }
                span.sr #said role="status" {}
            }
        }
    }

    fn share_buttons(&self) -> Markup {
        let words = self.site.language.words();
        html! {
            nav.share aria-label=(words.share) {
                @for social in Social::ALL {
                    a.touch[social.needs_app()] href=(social.url(&self.share)) rel="noopener noreferrer" {
                        (icon(social.icon()))
                        (social.brand().unwrap_or(if social == Social::Sms { words.sms } else { words.email_social }))
                    }
                }
                // Shown where the device has its own way to share.
                button type="button" hidden data-share=(self.link) data-text=(self.share.text) { (icon(Icon::Share)) (words.more) }
            }
        }
    }

    fn goal(&self, goal: &Goal) -> Markup {
        const SEGMENTS_MAX: i64 = 10;
        let (language, words) = (self.site.language, self.site.language.words());
        let reached = goal.reached.clamp(0, goal.goal);
        let sentence = fill(words.reached, &[("reached", &language.number(reached)), ("goal", &language.number(goal.goal))]);
        html! {
            section.panel.goal aria-labelledby="goal" {
                h2 #goal { (fill(words.next_goal, &[("reward", &goal.reward)])) }
                @if (1..=SEGMENTS_MAX).contains(&goal.goal) {
                    div.steps role="img" aria-label=(sentence) {
                        @for n in 0..goal.goal { span.on[n < reached].next[n == reached] {} }
                    }
                } @else {
                    progress max=(goal.goal) value=(reached) aria-label=(sentence) {}
                }
                p.sub { b.num { (sentence) } }
            }
        }
    }

    fn rewards(&self) -> Markup {
        let (language, words) = (self.site.language, self.site.language.words());
        // What is theirs is written large; before the first reward has arrived, what is on its way.
        let (large, label, small) =
            if self.earned.is_empty() { (&self.on_its_way, words.coming_soon, &[][..]) } else { (&self.earned, words.earned, &self.on_its_way[..]) };
        html! {
            section.panel aria-labelledby="rewards" {
                h2 #rewards { (words.rewards) }
                @for (i, amount) in large.iter().enumerate() {
                    p.big.smaller[i > 0] { (amount.text(language)) @if i == 0 { " " small { (label) } } }
                }
                @if !small.is_empty() {
                    dl.kv { @for amount in small { div { dt { (words.on_its_way) } dd { (amount.text(language)) } } } }
                }
                @if !self.coupons.is_empty() {
                    h3 { (words.your_codes) }
                    dl.kv { @for (what, code) in &self.coupons { div { dt { (what) } dd { code { (code) } } } } }
                }
                @if self.earned.is_empty() && self.on_its_way.is_empty() && self.coupons.is_empty() { p.sub.quiet { (icon(Icon::Gift)) (words.no_rewards) } }
            }
        }
    }

    fn results(&self) -> Markup {
        let (language, words) = (self.site.language, self.site.language.words());
        html! {
            section.panel aria-labelledby="results" {
                h2 #results { (words.results) }
                p.big { (language.number(self.visits)) " " small { (words.visits) } }
                dl.kv {
                    div { dt { (words.signed_up) } dd { (language.number(self.leads)) } }
                    div { dt { (words.became_customers) } dd { (language.number(self.qualified)) } }
                }
            }
        }
    }

    fn people(&self) -> Markup {
        let words = self.site.language.words();
        html! {
            section.panel.people aria-labelledby="people" {
                h2 #people { (words.people) }
                @if self.people.is_empty() {
                    div.none { (icon(Icon::User)) p { b { (words.nobody) } br; (words.nobody_text) } }
                } @else {
                    ul.friends { @for person in &self.people { (self.person(person)) } }
                    @if self.more_people > 0 { p.sub.after { (fill(words.and_more, &[("count", &self.site.language.number(self.more_people))])) } }
                }
            }
        }
    }

    fn person(&self, person: &Referred) -> Markup {
        let (language, words) = (self.site.language, self.site.language.words());
        let name = short_name(&person.first_name, &person.last_name).unwrap_or_else(|| words.somebody.to_owned());
        let initials: String = name.split(' ').filter_map(|word| word.chars().next()).take(2).flat_map(char::to_uppercase).collect();
        let on = |template: &str, at: Timestamp| {
            let (before, after) = template.split_once("{date}").unwrap_or((template, ""));
            html! { (before) time datetime=(at.date()) { (language.date(at, self.now)) } (after) }
        };
        let (sign, good, state) = match &person.state {
            State::Joined => (Icon::User, false, words.state_joined.to_owned()),
            State::Customer { .. } => (Icon::Check, true, words.state_customer.to_owned()),
            State::Coming { reward, on: None, .. } => (Icon::Clock, true, fill(words.state_coming, &[("reward", &reward.text(language))])),
            State::Coming { reward, on: Some(day), .. } => {
                (Icon::Clock, true, fill(words.state_coming_on, &[("reward", &reward.text(language)), ("date", &language.date(*day, self.now))]))
            }
            State::Sent { reward, .. } => (Icon::Check, true, fill(words.state_sent, &[("reward", &reward.text(language))])),
            State::NotCounted => (Icon::Info, false, words.state_not_counted.to_owned()),
        };
        let when = match &person.state {
            State::Joined | State::NotCounted => on(words.signed_up_on, person.since),
            State::Customer { since } | State::Coming { since, .. } | State::Sent { since, .. } => on(words.customer_since, *since),
        };
        html! {
            li {
                span.face aria-hidden="true" { (initials) }
                b { bdi { (name) } }
                small { (when) }
                span.st.won[good] { (icon(sign)) (state) }
            }
        }
    }

    fn qr(&self) -> Markup {
        let words = self.site.language.words();
        let code = self.code;
        html! {
            section.panel aria-labelledby="qr" {
                div.qr {
                    h2 #qr { (words.in_person) }
                    @if let Some(qr) = Qr::of(&share::link_via(self.link, share::QR)) { (qr.markup(&fill(words.qr_title, &[("link", self.link)]))) }
                    p.sub { (words.scan) }
                    div.downloads {
                        a.p-btn.small href=(format!("/{code}/download-qr-code?size=1024")) download=(format!("{code}.png")) { (icon(Icon::Download)) span.sr { (words.download) } "PNG" }
                        a.p-btn.small href=(format!("/{code}/qr.svg")) download=(format!("{code}.svg")) { (icon(Icon::Download)) span.sr { (words.download) } "SVG" }
                    }
                }
            }
        }
    }
}

/// The referrer's link cannot be used at the moment.
pub fn resting(site: &Site) -> Markup {
    let words = site.language.words();
    super::message::Message {
        site,
        sign: Icon::Pause,
        title: words.resting,
        text: site.say(words.resting_text),
        detail: None,
        action: super::message::Message::way_in(site),
    }
    .html()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(minor: i64) -> Amount {
        Amount::Money(Money::new(minor, "USD".parse().unwrap()))
    }

    fn page(change: impl FnOnce(&mut Referrer)) -> String {
        let language = Language::new("en");
        let now: Timestamp = "2026-04-20".parse().unwrap();
        let link = "https://refer.example/PRIYA24K";
        let mut referrer = Referrer {
            site: Site { company: "Northlight", home: None, terms: None, language: &language, test: false },
            first_name: Some("Priya"),
            code: "PRIYA24K",
            link,
            share: Share { link, subject: "s", text: "t & <u>", qr: "/PRIYA24K/qr-code" },
            standing: Standing::Open,
            gives: Some("10% off"),
            gets: Some("$150"),
            visits: 1_212,
            leads: 31,
            qualified: 14,
            earned: vec![dollars(235_000), Amount::Units { units: 1_500, metric: "points".into() }],
            on_its_way: vec![dollars(30_000)],
            coupons: vec![],
            next: Some(Goal { reached: 4, goal: 5, reward: "$250".into() }),
            people: vec![],
            more_people: 0,
            now,
        };
        change(&mut referrer);
        referrer.html().into_string()
    }

    #[test]
    fn the_page_shows_link_numbers_and_rewards() {
        let html = page(|_| ());
        for expected in ["refer.example/PRIYA24K", "1,212", "$2,350", "1,500 points", "$300", "4 of 5", "<svg class=\"code\"", "download-qr-code", "Nobody yet"]
        {
            assert!(html.contains(expected), "{expected}");
        }
        assert_eq!(html.matches("<h1").count(), 1);
        for social in Social::ALL {
            assert!(html.contains(social.brand().unwrap_or("")), "{social:?}");
        }
        assert!(!html.contains(" style=") && !html.contains("<style") && !html.contains("onclick"), "the content security policy allows nothing inline");
    }

    #[test]
    fn of_others_only_a_short_name_is_shown() {
        let at = |day: &str| day.parse::<Timestamp>().unwrap();
        let person = |first: &str, last: &str, state| Referred { first_name: first.into(), last_name: last.into(), since: at("2026-03-12"), state };
        let html = page(|referrer| {
            referrer.more_people = 26;
            referrer.people = vec![
                person("Daniel", "Okafor", State::Joined),
                person("elif@example.com", "Kaya", State::Coming { since: at("2026-04-09"), reward: dollars(15_000), on: Some(at("2026-04-23")) }),
                person("<img src=x>", "", State::NotCounted),
                person("مها", "حداد", State::Sent { since: at("2025-02-02"), reward: dollars(15_000) }),
            ];
        });
        assert!(html.contains("<bdi>Daniel O.</bdi>") && !html.contains("Okafor"));
        assert!(!html.contains("elif") && !html.contains("Kaya") && !html.contains("<img"));
        assert!(html.contains("$150 on 23 April") && html.contains("2 February 2025") && html.contains("<bdi>مها ح.</bdi>") && html.contains("and 26 more"));
    }

    #[test]
    fn a_long_way_to_go_is_a_bar() {
        let html = page(|referrer| referrer.next = Some(Goal { reached: 70, goal: 50, reward: "x".into() }));
        assert!(html.contains(r#"<progress max="50" value="50""#));
    }
}
