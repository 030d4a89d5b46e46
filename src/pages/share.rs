//! Where sharing leads: the ten ways to pass on a link, as plain addresses. Nothing
//! of theirs is loaded into our pages.

use super::layout::Icon;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Social {
    Sms,
    Lineme,
    Email,
    Wechat,
    Twitter,
    Facebook,
    Linkedin,
    Telegram,
    Whatsapp,
    Messenger,
}

/// The parameter of a link that says how it was passed on, for the statistics.
pub const VIA: &str = "via";

/// A link as it is passed on in one way.
pub fn link_via(link: &str, way: &str) -> String {
    format!("{link}?{VIA}={way}")
}

/// How a link was passed on, by its query string: a word that we have written there.
pub fn way(query: &str) -> &'static str {
    let said = query.split('&').find_map(|pair| pair.strip_prefix(VIA)?.strip_prefix('=')).unwrap_or_default();
    if said == QR { QR } else { Social::parse(said).map_or(LINK, Social::as_str) }
}

/// Passed on by a QR code.
pub const QR: &str = "qr";
/// Nobody knows how.
pub const LINK: &str = "link";

/// What is passed on.
pub struct Share<'a> {
    /// The plain link.
    pub link: &'a str,
    /// Of an e-mail.
    pub subject: &'a str,
    pub text: &'a str,
    /// The link's QR code, for what can only be shared by scanning.
    pub qr: &'a str,
}

impl Social {
    /// In the order of the buttons: what people use with people they know comes first.
    pub const ALL: [Social; 10] = [
        Social::Whatsapp,
        Social::Email,
        Social::Sms,
        Social::Messenger,
        Social::Telegram,
        Social::Facebook,
        Social::Linkedin,
        Social::Twitter,
        Social::Lineme,
        Social::Wechat,
    ];

    /// As it is written in addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Social::Sms => "sms",
            Social::Lineme => "lineme",
            Social::Email => "email",
            Social::Wechat => "wechat",
            Social::Twitter => "twitter",
            Social::Facebook => "facebook",
            Social::Linkedin => "linkedin",
            Social::Telegram => "telegram",
            Social::Whatsapp => "whatsapp",
            Social::Messenger => "messenger",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|social| social.as_str() == word)
    }

    /// What it calls itself; those that are no brand have a name in each language.
    pub const fn brand(self) -> Option<&'static str> {
        match self {
            Social::Sms | Social::Email => None,
            Social::Lineme => Some("LINE"),
            Social::Wechat => Some("WeChat"),
            Social::Twitter => Some("X"),
            Social::Facebook => Some("Facebook"),
            Social::Linkedin => Some("LinkedIn"),
            Social::Telegram => Some("Telegram"),
            Social::Whatsapp => Some("WhatsApp"),
            Social::Messenger => Some("Messenger"),
        }
    }

    /// Whether the address opens an app and nothing else.
    pub const fn needs_app(self) -> bool {
        matches!(self, Social::Messenger)
    }

    pub const fn icon(self) -> Icon {
        match self {
            Social::Sms => Icon::Sms,
            Social::Lineme => Icon::Line,
            Social::Email => Icon::Mail,
            Social::Wechat => Icon::Wechat,
            Social::Twitter => Icon::X,
            Social::Facebook => Icon::Facebook,
            Social::Linkedin => Icon::Linkedin,
            Social::Telegram => Icon::Telegram,
            Social::Whatsapp => Icon::Whatsapp,
            Social::Messenger => Icon::Messenger,
        }
    }

    /// Where the button leads.
    pub fn url(self, share: &Share) -> String {
        let via = link_via(share.link, self.as_str());
        let (link, subject, text) = (encode(&via), encode(share.subject), encode(share.text));
        let both = encode(&format!("{} {via}", share.text));
        match self {
            // `?&body=`: iOS reads what follows `&`, Android what follows `?`.
            Social::Sms => format!("sms:?&body={both}"),
            Social::Lineme => format!("https://line.me/R/share?text={both}"),
            Social::Email => format!("mailto:?subject={subject}&body={}", encode(&format!("{}\r\n\r\n{via}", share.text))),
            // WeChat has no address to share by: people scan the code with it.
            Social::Wechat => share.qr.to_owned(),
            Social::Twitter => format!("https://x.com/intent/post?text={text}&url={link}"),
            Social::Facebook => format!("https://www.facebook.com/sharer/sharer.php?u={link}"),
            Social::Linkedin => format!("https://www.linkedin.com/sharing/share-offsite/?url={link}"),
            Social::Telegram => format!("https://t.me/share/url?url={link}&text={text}"),
            Social::Whatsapp => format!("https://wa.me/?text={both}"),
            // Opens the app; on the web Messenger shares for registered apps only.
            Social::Messenger => format!("fb-messenger://share/?link={link}"),
        }
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters. A space is `%20`:
/// mail programs show a plus sign as it is.
pub fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)] as char, HEX[usize::from(byte & 15)] as char]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share<'static> = Share {
        link: "https://refer.example/PRIYÄ",
        subject: "10% off & more",
        text: "Für dich: 10 % “off” + <b>\nHello",
        qr: "https://refer.example/PRIYA/qr-code",
    };

    #[test]
    fn words_and_socials_belong_together() {
        for social in Social::ALL {
            assert_eq!(Social::parse(social.as_str()), Some(social));
        }
        assert_eq!(Social::parse("myspace"), None);
    }

    #[test]
    fn what_is_shared_arrives_as_it_was_written() {
        let pairs = |social: Social| -> Vec<(String, String)> {
            let url = social.url(&SHARE);
            let query = url.split_once('?').unwrap().1;
            form_urlencoded::parse(query.as_bytes()).into_owned().collect()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for social in Social::ALL {
            let link = format!("{}?via={}", SHARE.link, social.as_str());
            let both = format!("{} {link}", SHARE.text);
            let expected = match social {
                Social::Whatsapp | Social::Lineme => vec![pair("text", &both)],
                Social::Sms => vec![pair("body", &both)],
                Social::Twitter => vec![pair("text", SHARE.text), pair("url", &link)],
                Social::Telegram => vec![pair("url", &link), pair("text", SHARE.text)],
                Social::Facebook => vec![pair("u", &link)],
                Social::Linkedin => vec![pair("url", &link)],
                Social::Messenger => vec![pair("link", &link)],
                Social::Email => vec![pair("subject", SHARE.subject), pair("body", &format!("{}\r\n\r\n{link}", SHARE.text))],
                Social::Wechat => continue,
            };
            assert_eq!(pairs(social), expected);
        }
        assert_eq!(Social::Wechat.url(&SHARE), SHARE.qr);
    }

    #[test]
    fn a_link_says_how_it_was_passed_on() {
        for social in Social::ALL {
            assert_eq!(way(link_via("x", social.as_str()).split_once('?').unwrap().1), social.as_str());
        }
        for (query, expected) in [("via=qr", "qr"), ("a=b&via=email&c", "email"), ("", "link"), ("via=%3Cscript%3E", "link"), ("viax=qr", "link")] {
            assert_eq!(way(query), expected, "{query}");
        }
    }

    #[test]
    fn nothing_breaks_out_of_an_address() {
        for social in Social::ALL {
            let url = social.url(&SHARE);
            assert!(url.is_ascii() && !url.contains(['"', '<', '>', ' ', '+', '\n']), "{url}");
        }
        assert_eq!(encode("a-Z_0.~ %+ü"), "a-Z_0.~%20%25%2B%C3%BC");
    }
}
