//! Pages that say one thing: not found, not now, please again.

use super::layout::{Icon, Page, Site, halo, icon};
use maud::{Markup, html};

pub struct Message<'a> {
    pub site: &'a Site<'a>,
    pub sign: Icon,
    pub title: &'a str,
    pub text: String,
    /// Below the text, smaller.
    pub detail: Option<Markup>,
    /// What can be done: a label and an address.
    pub action: Option<(String, String)>,
}

impl Message<'_> {
    /// To the company's own website, where there is one.
    pub fn way_in(site: &Site) -> Option<(String, String)> {
        let home = site.home?;
        Some((site.say(site.language.words().go_to), home.to_owned()))
    }

    pub fn html(&self) -> Markup {
        let body = html! {
            section.hero.centre aria-labelledby="h" {
                (halo())
                div.say {
                    div.sign aria-hidden="true" { (icon(self.sign)) }
                    h1 #h { (self.title) }
                    p.lede { (self.text) }
                    @if let Some((label, address)) = &self.action {
                        a.p-btn.go href=(address) { span { (label) } (icon(Icon::Arrow)) }
                    }
                    @if let Some(detail) = &self.detail { p.detail { (detail) } }
                }
            }
        };
        Page { site: self.site, title: self.title.to_owned(), description: None, corner: None, body }.html()
    }
}

/// `/`: that the server runs, for whoever set it up. It names nobody who uses it.
pub fn running(site: &Site) -> Markup {
    let text = "This server runs referral programs: people share links, friends join, rewards follow. Referral links lead to their own pages.".to_owned();
    Message {
        site,
        sign: Icon::Compass,
        title: "Goodword is running",
        text,
        detail: None,
        action: Some(("Open the API reference".to_owned(), "/docs".to_owned())),
    }
    .html()
}

/// The desk, for a browser that is not signed in.
pub fn signed_out(site: &Site) -> Markup {
    let text = "Run goodword admin on the server: it prints a link that signs this browser in.".to_owned();
    Message { site, sign: Icon::User, title: "You are not signed in", text, detail: None, action: None }.html()
}

/// 404: no such code, campaign or page.
pub fn not_found(site: &Site) -> Markup {
    let words = site.language.words();
    Message { site, sign: Icon::Compass, title: words.not_found, text: words.not_found_text.to_owned(), detail: None, action: Message::way_in(site) }.html()
}

/// 500: with what helps to find it in the log.
pub fn failed(site: &Site, request_id: Option<&str>) -> Markup {
    let words = site.language.words();
    let detail = request_id.map(|id| html! { (words.reference) " " code { (id) } });
    Message { site, sign: Icon::Alert, title: words.wrong, text: words.wrong_text.to_owned(), detail, action: None }.html()
}

/// 429.
pub fn slow_down(site: &Site, seconds: u64) -> Markup {
    let words = site.language.words();
    let text = super::words::fill(words.slow_down_text, &[("count", &seconds.max(1).to_string())]);
    Message { site, sign: Icon::Clock, title: words.slow_down, text, detail: None, action: None }.html()
}

/// 400, 403, 413: a form from elsewhere, or one that cannot be read. `back` is the
/// page that it belongs to.
pub fn unreadable(site: &Site, back: &str) -> Markup {
    let words = site.language.words();
    let action = Some((words.back.to_owned(), back.to_owned()));
    Message { site, sign: Icon::Info, title: words.unreadable, text: words.unreadable_text.to_owned(), detail: None, action }.html()
}

#[cfg(test)]
mod tests {
    use super::{super::words::Language, *};

    #[test]
    fn messages_are_whole_pages_even_if_nobody_knows_whose() {
        let language = Language::new("de");
        let site = Site { company: "", home: None, terms: None, language: &language, test: true };
        for page in [not_found(&site), failed(&site, Some("req<1>")), slow_down(&site, 0), unreadable(&site, "/A?\"x")] {
            let html = page.into_string();
            assert!(html.starts_with("<!DOCTYPE html>") && html.matches("<h1").count() == 1 && html.contains("<main"));
            assert!(html.contains("Testdaten") && !html.contains("<footer") && !html.contains("req<1>"));
        }
        assert!(unreadable(&site, "/A?\"x").into_string().contains("href=\"/A?&quot;x\""));
    }
}
