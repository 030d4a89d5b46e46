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

/// What is passed on.
pub struct Share<'a> {
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
        let (link, subject, text) = (encode(share.link), encode(share.subject), encode(share.text));
        let both = encode(&format!("{} {}", share.text, share.link));
        match self {
            // `?&body=`: iOS reads what follows `&`, Android what follows `?`.
            Social::Sms => format!("sms:?&body={both}"),
            Social::Lineme => format!("https://line.me/R/share?text={both}"),
            Social::Email => format!("mailto:?subject={subject}&body={}", encode(&format!("{}\r\n\r\n{}", share.text, share.link))),
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
        link: "https://refer.example/PRIYA?a=1&b=2#c",
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
        let both = format!("{} {}", SHARE.text, SHARE.link);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs(Social::Whatsapp), [pair("text", &both)]);
        assert_eq!(pairs(Social::Lineme), [pair("text", &both)]);
        assert_eq!(pairs(Social::Sms), [pair("body", &both)]);
        assert_eq!(pairs(Social::Twitter), [pair("text", SHARE.text), pair("url", SHARE.link)]);
        assert_eq!(pairs(Social::Telegram), [pair("url", SHARE.link), pair("text", SHARE.text)]);
        assert_eq!(pairs(Social::Facebook), [pair("u", SHARE.link)]);
        assert_eq!(pairs(Social::Linkedin), [pair("url", SHARE.link)]);
        assert_eq!(pairs(Social::Messenger), [pair("link", SHARE.link)]);
        assert_eq!(pairs(Social::Email), [pair("subject", SHARE.subject), pair("body", &format!("{}\r\n\r\n{}", SHARE.text, SHARE.link))]);
        assert_eq!(Social::Wechat.url(&SHARE), SHARE.qr);
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
