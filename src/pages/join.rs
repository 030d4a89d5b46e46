//! Where people sign up to get a link of their own.

use super::{
    form::Form,
    landing::fill_offer,
    layout::{Icon, Page, Site, halo, how, ticket},
    message::Message,
    words::{fill, fill_markup, referrer_in},
};
use goodword_core::campaign;
use maud::{Markup, html};

pub struct Join<'a> {
    pub site: Site<'a>,
    pub words: &'a campaign::Words,
    /// What their friends get.
    pub gives: Option<&'a str>,
    /// What they get themselves.
    pub gets: Option<&'a str>,
    pub form: Form<'a>,
}

/// A headline of two lines: what you give, what you get. Also the referrer's page
/// begins with it.
pub fn headline(site: &Site, gives: Option<&str>, gets: Option<&str>) -> (Markup, String) {
    let words = site.language.words();
    let values = [("company", site.company), ("gives", gives.unwrap_or_default()), ("gets", gets.unwrap_or_default())];
    match (gives, gets) {
        (Some(_), Some(_)) => {
            let [give, get] = words.join_both.map(|line| fill(line, &values));
            (html! { (give) br; em { (get) } }, format!("{give} {get}"))
        }
        (None, Some(gets)) => {
            let markup = fill_markup(words.join_one, |slot| match slot {
                "company" => Some(html! { bdi { (site.company) } }),
                "gets" => Some(html! { em { (gets) } }),
                _ => None,
            });
            (markup, fill(words.join_one, &values))
        }
        _ => {
            let text = fill(words.join_plain, &values);
            (html! { (text) }, text)
        }
    }
}

/// The two tickets of a double-sided offer.
pub fn tickets(site: &Site, gives: Option<&str>, gets: Option<&str>, code: Option<&str>) -> Markup {
    let words = site.language.words();
    html! {
        div.tickets aria-hidden="true" {
            @if let Some(gives) = gives { (ticket(words.for_your_friend, gives, None, Icon::Ticket, code)) }
            @if let Some(gets) = gets { (ticket(words.for_you, gets, None, Icon::Gift, None)) }
        }
    }
}

/// How it works, for those who share.
pub fn referrer_steps(site: &Site, gets: Option<&str>) -> Markup {
    let words = site.language.words();
    let last = if gets.is_some() { words.referrer_how[2] } else { words.referrer_how_last_plain };
    let say = |[what, more]: [&str; 2]| [what, more].map(|text| html! { (fill(text, &[("company", site.company), ("reward", gets.unwrap_or_default())])) });
    how(words, &[say(words.referrer_how[0]), say(words.referrer_how[1]), say(last)])
}

impl Join<'_> {
    pub fn html(&self) -> Markup {
        let (site, words) = (&self.site, self.site.language.words());
        let (headline, title) = match &self.words.join_headline {
            Some(own) => {
                let gets = self.gets.unwrap_or(words.a_reward);
                let markup = fill_markup(own.as_str(), |slot| match slot {
                    "reward" => Some(html! { em { (gets) } }),
                    "company" => Some(html! { bdi { (site.company) } }),
                    "referrer" => Some(html! { (referrer_in(own.as_str(), None, words)) }),
                    _ => None,
                });
                (site.own(markup), fill_offer(own.as_str(), site, None, self.gets))
            }
            None => headline(site, self.gives, self.gets),
        };
        let body = html! {
            section.hero.offer aria-labelledby="h" {
                (halo())
                div.say {
                    h1 #h { (headline) }
                    p.lede { (site.say(words.join_lede)) }
                    (tickets(site, self.gives, self.gets, None))
                }
                div.card { h2 { (words.join_form) } (self.form.html(site)) }
            }
            (referrer_steps(site, self.gets))
        };
        let title = if self.form.has_trouble() { fill(words.error_title, &[("title", &title)]) } else { title };
        Page { site, title, description: Some(site.say(words.join_lede)), corner: None, body }.html()
    }

    pub fn button(site: &Site) -> Markup {
        html! { (site.language.words().join_button) }
    }

    pub fn privacy(site: &Site) -> Markup {
        html! { (site.language.words().join_privacy) }
    }
}

/// The campaign takes nobody who was not invited.
pub fn closed(site: &Site) -> Markup {
    let words = site.language.words();
    Message { site, sign: Icon::User, title: words.join_closed, text: site.say(words.join_closed_text), detail: None, action: Message::way_in(site) }.html()
}

/// The address takes part already. Whoever asks, nothing of the person is shown.
pub fn taken(site: &Site) -> Markup {
    let words = site.language.words();
    Message { site, sign: Icon::User, title: words.taken, text: site.say(words.taken_text), detail: None, action: Message::way_in(site) }.html()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{form::Input, words::Language},
        *,
    };
    use serde_json::json;

    fn page(words: serde_json::Value, gives: Option<&str>, gets: Option<&str>) -> String {
        let (language, words, input) = (Language::new("en"), serde_json::from_value(words).unwrap(), Input::default());
        let site = Site { company: "Northlight", home: None, terms: Some("https://northlight.example/terms"), language: &language, test: false };
        let form = Form {
            action: "/join/SPRING",
            token: "t",
            fields: &[],
            button: Join::button(&site),
            privacy: Join::privacy(&site),
            input: &input,
            mistakes: &[],
            again: true,
        };
        Join { site, words: &words, gives, gets, form }.html().into_string()
    }

    #[test]
    fn the_headline_fits_what_is_offered() {
        assert!(page(json!({}), Some("10% off"), Some("$150")).contains("Give 10% off.<br><em>Get $150.</em></h1>"));
        assert!(page(json!({}), None, Some("$150")).contains("Recommend <bdi>Northlight</bdi>, get <em>$150</em></h1>"));
        assert!(page(json!({}), Some("10% off"), None).contains("Recommend Northlight</h1>"));
        assert!(page(json!({"join_headline": "Earn {reward} & more"}), None, Some("$150")).contains("Earn <em>$150</em> &amp; more</h1>"));
    }

    #[test]
    fn a_form_that_comes_back_says_so_in_the_title() {
        let html = page(json!({}), None, None);
        assert!(html.contains("<title>Please check: Recommend Northlight · Northlight</title>"));
        assert!(html.contains(r#"role="alert""#) && html.contains(r#"name="terms""#));
    }
}
