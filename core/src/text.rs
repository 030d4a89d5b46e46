//! Text from people and machines, parsed once and valid ever after.

use crate::Invalid;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

/// Reads and writes a type as the string it parses from.
macro_rules! as_text {
    ($type:ty, $schema:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl utoipa::PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let schema: ObjectBuilder = $schema;
                schema.into()
            }
        }
        impl utoipa::ToSchema for $type {}
    };
}

fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// An e-mail address. The original spelling is kept for sending; two keys say
/// which addresses are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

const EMAIL_LEN_MAX: usize = 254; // RFC 5321, 4.5.3.1.3 less the angle brackets

impl Email {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in lower case: what people mean by "the same address".
    pub fn address_key(&self) -> String {
        self.0.to_lowercase()
    }

    /// The mailbox behind the address, in lower case: without dots and tags where
    /// the provider ignores them, and with the provider's aliases joined.
    pub fn mailbox_key(&self) -> String {
        let lower = self.0.to_lowercase();
        let Some((local, domain)) = lower.rsplit_once('@') else { return lower };
        let provider = PROVIDERS.iter().find(|p| p.domains.contains(&domain));
        let Some(provider) = provider else { return lower };
        let local = provider.tag.and_then(|tag| local.split_once(tag)).map_or(local, |(name, _)| name);
        let local = if provider.ignores_dots { local.replace('.', "") } else { local.to_owned() };
        // A provider's domains share their mailboxes only where it says so.
        let domain = if provider.one_mailbox { provider.domains[0] } else { domain };
        format!("{local}@{domain}")
    }

    /// A tag after a plus sign: often the same person again, whoever the provider is.
    pub fn has_plus_tag(&self) -> bool {
        self.0.rsplit_once('@').is_some_and(|(local, _)| local.contains('+'))
    }

    /// `p***@example.com`: for pages and logs that others may see.
    pub fn masked(&self) -> String {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or((&self.0, ""));
        format!("{}***@{domain}", local.chars().next().unwrap_or('*'))
    }
}

/// What a mail provider ignores in an address (their help pages).
struct Provider {
    domains: &'static [&'static str],
    ignores_dots: bool,
    tag: Option<char>,
    one_mailbox: bool,
}

const PROVIDERS: &[Provider] = &[
    Provider { domains: &["gmail.com", "googlemail.com"], ignores_dots: true, tag: Some('+'), one_mailbox: true },
    Provider { domains: &["outlook.com", "hotmail.com", "live.com", "msn.com"], ignores_dots: false, tag: Some('+'), one_mailbox: false },
    Provider { domains: &["icloud.com", "me.com", "mac.com"], ignores_dots: false, tag: Some('+'), one_mailbox: true },
    Provider { domains: &["proton.me", "protonmail.com", "pm.me"], ignores_dots: true, tag: Some('+'), one_mailbox: true },
    Provider { domains: &["fastmail.com", "fastmail.fm"], ignores_dots: false, tag: Some('+'), one_mailbox: false },
    Provider { domains: &["yahoo.com", "ymail.com"], ignores_dots: false, tag: Some('-'), one_mailbox: false },
];

impl FromStr for Email {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let valid = text.len() <= EMAIL_LEN_MAX
            && text.rsplit_once('@').is_some_and(|(local, domain)| {
                !local.is_empty()
                    && local.len() <= 64
                    && !local.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '@' | '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\'))
                    && domain.contains('.')
                    && domain.split('.').all(|label| {
                        !label.is_empty()
                            && label.len() <= 63
                            && !label.starts_with('-')
                            && !label.ends_with('-')
                            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                    })
            });
        if valid { Ok(Self(text.to_owned())) } else { Err(Invalid::new("an e-mail address like priya@example.com")) }
    }
}
as_text!(
    Email,
    string().format(Some(SchemaFormat::KnownFormat(KnownFormat::Email))).max_length(Some(EMAIL_LEN_MAX)).examples([serde_json::json!("priya@example.com")])
);

/// What stands in a referral link and what people say to each other. Kept as it
/// was written, compared without regard to case, never given to two people.
#[derive(Debug, Clone)]
pub struct Code(String);

/// No 0/O, 1/I/L: what is read aloud arrives.
const CODE_ALPHABET: &[u8] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
const CODE_LEN: usize = 8;

/// First segments of the product's own addresses, which no code may take.
const RESERVED: &[&str] = &[
    "admin",
    "api",
    "app",
    "assets",
    "docs",
    "embed",
    "favicon",
    "healthz",
    "join",
    "login",
    "logout",
    "mcp",
    "me",
    "metrics",
    "oauth",
    "openapi",
    "portal",
    "qr",
    "readyz",
    "robots",
    "signup",
    "static",
    "v1",
    "v2",
    "webhook",
    "webhooks",
    "well-known",
    "widget",
];

impl Code {
    /// A fresh code of 8 characters from 64 random bits (31^8 is below 2^40).
    pub fn from_random(random: u64) -> Self {
        let mut rest = random;
        let base = CODE_ALPHABET.len() as u64;
        let text: String = (0..CODE_LEN)
            .map(|_| {
                let letter = CODE_ALPHABET[(rest % base) as usize] as char;
                rest /= base;
                letter
            })
            .collect();
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is compared and stored in the unique index.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for Code {}

impl FromStr for Code {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let valid = (3..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !valid {
            return Err(Invalid::new("a code of 3 to 32 letters, digits, hyphens or underscores"));
        }
        if RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
            return Err(Invalid::new("a code that is not one of the server's own addresses"));
        }
        Ok(Self(text.to_owned()))
    }
}
as_text!(Code, string().pattern(Some("^[A-Za-z0-9_-]{3,32}$")).examples([serde_json::json!("PRIYA24K")]));

/// An absolute http or https address without user name or password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(String);

impl WebUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address with one more query parameter; one of the same name is replaced.
    pub fn with_parameter(&self, name: &str, value: &str) -> String {
        let Ok(mut url) = url::Url::parse(&self.0) else { return self.0.clone() };
        let kept: Vec<(String, String)> = url.query_pairs().filter(|(key, _)| key != name).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
        url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, value);
        url.into()
    }
}

impl FromStr for WebUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("a web address like https://example.com/welcome");
        let text = text.trim();
        let url = url::Url::parse(text).map_err(|_| invalid())?;
        let web = matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none();
        if web && text.len() <= 2_000 { Ok(Self(url.into())) } else { Err(invalid()) }
    }
}
as_text!(
    WebUrl,
    string().format(Some(SchemaFormat::Custom("uri".into()))).max_length(Some(2_000)).examples([serde_json::json!("https://example.com/welcome")])
);

/// A line of text for people: trimmed, not empty, at most 200 characters, without
/// control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line(String);

impl Line {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for Line {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let valid = !text.is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control);
        if valid { Ok(Self(text.to_owned())) } else { Err(Invalid::new("a line of 1 to 200 characters")) }
    }
}
as_text!(Line, string().min_length(Some(1)).max_length(Some(200)));

#[cfg(test)]
mod tests {
    use super::*;

    fn email(text: &str) -> Email {
        text.parse().unwrap()
    }

    #[test]
    fn variants_of_one_mailbox_are_one() {
        for (a, b, same) in [
            ("Priya@Example.com", "priya@example.com", true),
            ("p.riya@gmail.com", "priya@gmail.com", true),
            ("priya+shop@gmail.com", "priya@gmail.com", true),
            ("P.R.I.Y.A+1@GoogleMail.com", "priya@gmail.com", true),
            ("priya+shop@outlook.com", "priya@outlook.com", true),
            ("pri.ya@outlook.com", "priya@outlook.com", false),
            ("priya@outlook.com", "priya@hotmail.com", false),
            ("priya-shop@yahoo.com", "priya@yahoo.com", true),
            ("priya@me.com", "priya@icloud.com", true),
            ("pri.ya+x@proton.me", "priya@pm.me", true),
            ("priya+shop@example.com", "priya@example.com", false),
            ("pri.ya@example.com", "priya@example.com", false),
        ] {
            assert_eq!(email(a).mailbox_key() == email(b).mailbox_key(), same, "{a} and {b}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "priya",
            "priya@",
            "@example.com",
            "priya@example",
            "priya@-a.com",
            "pri ya@example.com",
            "a@b@example.com",
            "<a@example.com>",
            "a@example..com",
        ] {
            assert!(text.parse::<Email>().is_err(), "{text}");
        }
        assert_eq!(email(" Priya@Example.com ").as_str(), "Priya@Example.com");
        assert_eq!(email("priya@example.com").masked(), "p***@example.com");
    }

    #[test]
    fn codes_are_unambiguous_and_compared_without_case() {
        let code = Code::from_random(u64::MAX);
        assert_eq!(code.as_str().len(), 8);
        assert!(code.as_str().bytes().all(|b| CODE_ALPHABET.contains(&b)));
        assert_eq!("PriYa24".parse::<Code>().unwrap(), "priya24".parse().unwrap());
        for text in ["ab", "API", "join", "with space", "ünï", "a/b", &"x".repeat(33)] {
            assert!(text.parse::<Code>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_added_and_replaced() {
        let url: WebUrl = "https://example.com/a?ref=old&x=1#top".parse().unwrap();
        assert_eq!(url.with_parameter("ref", "A B"), "https://example.com/a?x=1&ref=A+B#top");
        for text in ["example.com", "javascript:alert(1)", "ftp://example.com", "https://user:pw@example.com", "https://"] {
            assert!(text.parse::<WebUrl>().is_err(), "{text}");
        }
    }
}
