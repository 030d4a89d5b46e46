//! What every public page shares: its frame, its head, its icons.

use super::{
    assets,
    words::{Language, fill},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Whose page it is.
#[derive(Clone)]
pub struct Site<'a> {
    /// The company's name; empty where nobody knows which company is meant.
    pub company: &'a str,
    /// The company's own website: the normal way in.
    pub home: Option<&'a str>,
    /// The terms of the programme.
    pub terms: Option<&'a str>,
    pub language: &'a Language,
    /// Whether this is test data.
    pub test: bool,
}

impl Site<'_> {
    pub fn say(&self, template: &str) -> String {
        fill(template, &[("company", self.company)])
    }

    /// Text of the campaign's own, which may be another language than the product's
    /// words around it.
    pub fn own(&self, text: impl maud::Render) -> Markup {
        html! {
            @if self.language.borrowed().is_some() { span lang=(self.language.tag()) dir="auto" { (text) } } @else { (text) }
        }
    }

    /// Paragraphs of the campaign's own: an empty line begins a new one.
    pub fn own_paragraphs(&self, class: &str, text: &str) -> Markup {
        let text = text.replace("\r\n", "\n");
        html! {
            @for paragraph in text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
                p class=(class) {
                    @for (i, line) in paragraph.lines().enumerate() { @if i > 0 { br; } (self.own(line)) }
                }
            }
        }
    }
}

/// One page, ready to be framed.
pub struct Page<'a> {
    pub site: &'a Site<'a>,
    pub title: String,
    /// For the preview that messengers show of a link.
    pub description: Option<String>,
    /// Beside the company's name.
    pub corner: Option<Markup>,
    pub body: Markup,
}

impl Page<'_> {
    pub fn html(self) -> Markup {
        let (site, words) = (self.site, self.site.language.words());
        let title = if site.company.is_empty() { self.title.clone() } else { format!("{} · {}", self.title, site.company) };
        html! {
            (DOCTYPE)
            html lang=(site.language.tag()) dir=(site.language.dir()) {
                head {
                    meta charset="utf-8";
                    title { (title) }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    // Personal links belong into messages, not into search results.
                    meta name="robots" content="noindex";
                    @if let Some(description) = &self.description {
                        meta name="description" content=(description);
                        meta property="og:title" content=(self.title);
                        meta property="og:description" content=(description);
                        meta property="og:type" content="website";
                        @if !site.company.is_empty() { meta property="og:site_name" content=(site.company); }
                    }
                    link rel="icon" href=(assets::ICON.url()) type="image/svg+xml";
                    link rel="preload" href=(assets::FONT_TEXT.url()) as="font" type="font/woff2" crossorigin;
                    link rel="preload" href=(assets::FONT_HEAD.url()) as="font" type="font/woff2" crossorigin;
                    link rel="stylesheet" href=(assets::CSS.url());
                    script src=(assets::JS.url()) defer {}
                }
                body lang=[site.language.borrowed()] {
                    a.skip href="#main" { (words.skip) }
                    @if site.test { p.test role="note" { (icon(Icon::Info)) (words.test_data) } }
                    @if !site.company.is_empty() || self.corner.is_some() {
                        header.wrap.top {
                            @if !site.company.is_empty() { (brand(site)) }
                            @if let Some(corner) = &self.corner { div.end { (corner) } }
                        }
                    }
                    main.wrap #main tabindex="-1" { (self.body) }
                    @if !site.company.is_empty() {
                        footer.wrap.foot {
                            span { (site.say(words.footer)) }
                            @if let Some(terms) = site.terms { a href=(terms) { (words.terms) } }
                        }
                    }
                }
            }
        }
    }
}

/// The company's name with its first letter as a mark.
fn brand(site: &Site) -> Markup {
    let initial = site.company.chars().find(|c| c.is_alphanumeric()).map(|c| c.to_uppercase().to_string());
    let inner = html! {
        @if let Some(initial) = initial { span.mark aria-hidden="true" { (initial) } }
        bdi { (site.company) }
    };
    html! {
        @match site.home {
            Some(home) => a.brand href=(home) { (inner) },
            None => span.brand { (inner) },
        }
    }
}

/// Three steps, numbered.
pub fn how(words: &super::words::Words, steps: &[[Markup; 2]; 3]) -> Markup {
    html! {
        section.panel aria-labelledby="how" {
            h2 #how { (words.how) }
            ol.how {
                @for [what, more] in steps { li { b { (what) } span { (more) } } }
            }
        }
    }
}

/// A ticket that shows what is given. It repeats what is written elsewhere, so
/// screen readers skip it.
pub fn ticket(kicker: &str, value: &str, small: Option<Markup>, sign: Icon, stub: Option<&str>) -> Markup {
    let long = value.chars().count() > 9;
    html! {
        div.ticket {
            div {
                div.k { (kicker) }
                div.v.long[long] { (value) }
                @if let Some(small) = small { div.s { (small) } }
            }
            div.stub { (icon(sign)) @if let Some(stub) = stub { code { (stub) } } }
        }
    }
}

/// Rings that fill the hero's corner.
pub fn halo() -> Markup {
    html! {
        svg.halo viewBox="0 0 400 400" aria-hidden="true" {
            @for r in [80, 120, 160, 198] { circle cx="200" cy="200" r=(r) {} }
        }
    }
}

/// Our own drawings, 24 by 24, drawn with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    Alert,
    Arrow,
    Check,
    Clock,
    Compass,
    Copy,
    Download,
    Facebook,
    Gift,
    Info,
    Line,
    Linkedin,
    Mail,
    Messenger,
    Pause,
    Plus,
    Share,
    Sms,
    Telegram,
    Ticket,
    User,
    Wechat,
    Whatsapp,
    X,
}

pub fn icon(icon: Icon) -> Markup {
    let drawing = match icon {
        Icon::Alert => r#"<circle cx="12" cy="12" r="9"/><path d="M12 7.5V13m0 3.4v.1"/>"#,
        Icon::Arrow => r#"<path d="M4.500 12h15M13 5.500l6.500 6.500-6.500 6.500"/>"#,
        Icon::Check => r#"<circle cx="12" cy="12" r="9"/><path d="m8 12.300 2.800 2.700L16 9.500"/>"#,
        Icon::Clock => r#"<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3.300 2"/>"#,
        Icon::Compass => r#"<circle cx="12" cy="12" r="9"/><path d="m15.800 8.200-2.300 5.300-5.300 2.300 2.300-5.300z"/>"#,
        Icon::Copy => {
            r#"<rect x="9" y="9" width="11.500" height="11.500" rx="2"/><path d="M5.500 15A2 2 0 0 1 3.500 13V5.500a2 2 0 0 1 2-2H13a2 2 0 0 1 2 2"/>"#
        }
        Icon::Download => r#"<path d="M12 4v11.500M7 10.500l5 5 5-5M4.500 20h15"/>"#,
        Icon::Facebook => r#"<circle cx="12" cy="12" r="9"/><path d="M15.500 7.500h-1A2.500 2.500 0 0 0 12 10v11M9.300 13h5.400"/>"#,
        Icon::Gift => {
            r#"<rect x="3" y="7.500" width="18" height="4" rx="1"/><path d="M5 11.500v7A1.500 1.500 0 0 0 6.500 20h11a1.500 1.500 0 0 0 1.500-1.500v-7M12 7.500V20M12 7.500C11 4.300 9.300 3 7.900 3.300c-2 .4-2 3.700.3 4.200m3.800 0c1-3.200 2.700-4.500 4.100-4.200 2 .4 2 3.700-.3 4.200"/>"#
        }
        Icon::Info => r#"<circle cx="12" cy="12" r="9"/><path d="M12 11.200v5M12 7.700v.1"/>"#,
        Icon::Line => {
            r#"<path d="M12 4c5 0 9 3.100 9 7 0 4.600-6.200 8.200-9.600 9.800l.2-2.700C6.600 17.900 3 14.900 3 11c0-3.900 4-7 9-7z"/><path d="M7.500 9v4h2.200M12 9v4m2.600 0V9l2.400 4V9"/>"#
        }
        Icon::Linkedin => {
            r#"<rect x="3.500" y="3.500" width="17" height="17" rx="3"/><path d="M8 11v5.500M8 7.700v.1M12 16.500V11m0 2.600a2.200 2.200 0 0 1 4.400 0v2.900"/>"#
        }
        Icon::Mail => r#"<rect x="2.500" y="5" width="19" height="14" rx="2"/><path d="m3 7 9 6 9-6"/>"#,
        Icon::Messenger => {
            r#"<path d="M12 3.500c5 0 9 3.600 9 8.200s-4 8.100-9 8.100c-.9 0-1.800-.1-2.600-.4L6 21v-3c-1.900-1.500-3-3.800-3-6.300 0-4.600 4-8.200 9-8.200z"/><path d="m7.500 13.500 3-3.100 3 2.400 3-3.100"/>"#
        }
        Icon::Pause => r#"<circle cx="12" cy="12" r="9"/><path d="M9.800 8.800v6.400M14.200 8.800v6.400"/>"#,
        Icon::Plus => r#"<path d="M12 5v14M5 12h14"/>"#,
        Icon::Share => {
            r#"<circle cx="6" cy="12" r="2.500"/><circle cx="17.500" cy="5.500" r="2.500"/><circle cx="17.500" cy="18.500" r="2.500"/><path d="m8.200 10.800 7.100-4M8.200 13.200l7.100 4"/>"#
        }
        Icon::Sms => {
            r#"<path d="M5 4h14a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-8l-5 4v-4H5a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2z"/><path d="M8 10.500h.1m3.900 0h.1m3.800 0h.1"/>"#
        }
        Icon::Telegram => r#"<path d="M21.500 4 2.500 11.300l6 2.500L11 20.500l3.500-4.300 4.500 3.300z"/><path d="M8.500 13.800 21.500 4"/>"#,
        Icon::Ticket => {
            r#"<path d="M3 8a2 2 0 0 1 2-2h14a2 2 0 0 1 2 2v1.500a2.500 2.500 0 0 0 0 5V16a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2v-1.500a2.500 2.500 0 0 0 0-5z"/><path d="M14 6.500V8m0 3.200v1.600m0 3.200v1.500"/>"#
        }
        Icon::User => r#"<circle cx="12" cy="8" r="4"/><path d="M4.500 20.500a7.500 7.500 0 0 1 15 0"/>"#,
        Icon::Wechat => {
            r#"<path d="M16.300 8.600C15.700 6 13 4 9.700 4 6 4 3 6.500 3 9.500c0 1.700.9 3.200 2.400 4.200L5 16l2.600-1.200c.5.100 1 .2 1.500.2"/><path d="M21.500 14.700c0-2.500-2.500-4.500-5.500-4.500s-5.500 2-5.500 4.500 2.500 4.500 5.500 4.500c.7 0 1.300-.1 1.900-.3l2.100 1-.4-1.900c1.100-.8 1.900-2 1.900-3.300z"/>"#
        }
        Icon::Whatsapp => {
            r#"<path d="M12 3a9 9 0 0 0-7.700 13.700L3 21l4.400-1.200A9 9 0 1 0 12 3z"/><path d="M9.200 8.200c-1.700 2.300 3.300 7.700 6.300 6.600l.4-1.700-1.900-1-.9.900c-1-.4-1.700-1.100-2.100-2.100l.9-.9-.9-1.900z"/>"#
        }
        Icon::X => r#"<path d="M4 4h4l12 16h-4zM19.500 4l-6.300 7M10.700 13.200 4.500 20"/>"#,
    };
    html! { svg.i.flip[icon == Icon::Arrow] viewBox="0 0 24 24" aria-hidden="true" { (PreEscaped(drawing)) } }
}
