//! Who uses a link, as far as we want to know: a random number in a first-party cookie
//! and which links it has used; the kind of device; whether it is a program.

use super::sign::Signer;
use crate::engine::visit::Device;
use goodword_core::{
    campaign::{Attribution, AttributionModel},
    ids::{CampaignId, ReferrerId, VisitorId},
    time::Timestamp,
};
use uuid::Uuid;

pub const COOKIE: &str = "goodword_visitor";
/// The longest that browsers keep a cookie.
const MAX_AGE_S: u32 = 400 * 24 * 60 * 60;
/// Campaigns remembered for one visitor: the cookie stays below 1 KiB.
const CAMPAIGNS_MAX: usize = 8;
const ID_LEN: usize = 16;
const ENTRY_LEN: usize = 3 * ID_LEN + 2 * size_of::<i64>();

/// A link that was used, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    pub referrer: ReferrerId,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    campaign: CampaignId,
    first: Touch,
    last: Touch,
}

/// A browser that has used a link before. No name, no address: a random number, and
/// the first and the last link of each campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub id: VisitorId,
    /// Latest first.
    used: Vec<Used>,
}

impl Visitor {
    pub const fn new(id: VisitorId) -> Self {
        Self { id, used: Vec::new() }
    }

    /// The visitor of a `Cookie` header, if the cookie is there and ours.
    pub fn read(signer: &Signer, cookies: &str) -> Option<Self> {
        let sealed = cookies.split(';').filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE)?.1;
        let payload = signer.open("", sealed)?;
        let (id, entries) = payload.split_at_checked(ID_LEN)?;
        let used = entries.chunks_exact(ENTRY_LEN).map(|entry| {
            let (campaign, rest) = entry.split_at(ID_LEN);
            let (first, last) = rest.split_at(rest.len() / 2);
            Some(Used { campaign: CampaignId::from_uuid(Uuid::from_slice(campaign).ok()?), first: read_touch(first)?, last: read_touch(last)? })
        });
        Some(Self { id: VisitorId::from_uuid(Uuid::from_slice(id).ok()?), used: used.collect::<Option<_>>()? })
    }

    /// The `Set-Cookie` header.
    pub fn write(&self, signer: &Signer, secure: bool) -> String {
        let mut payload = Vec::with_capacity(ID_LEN + self.used.len() * ENTRY_LEN);
        payload.extend_from_slice(self.id.uuid().as_bytes());
        for used in &self.used {
            payload.extend_from_slice(used.campaign.uuid().as_bytes());
            for touch in [used.first, used.last] {
                payload.extend_from_slice(touch.referrer.uuid().as_bytes());
                payload.extend_from_slice(&touch.at.ms().to_be_bytes());
            }
        }
        let secure = if secure { "; Secure" } else { "" };
        format!("{COOKIE}={}; Path=/; Max-Age={MAX_AGE_S}; HttpOnly; SameSite=Lax{secure}", signer.seal("", &payload))
    }

    /// Remembers that a link was used.
    pub fn touch(&mut self, campaign: CampaignId, touch: Touch) {
        let known = self.used.iter().position(|used| used.campaign == campaign).map(|i| self.used.remove(i));
        let used = Used { campaign, first: known.map_or(touch, |used| used.first), last: touch };
        self.used.insert(0, used);
        self.used.truncate(CAMPAIGNS_MAX);
    }

    /// Whose lead the visitor is: by the campaign's rule, the link that counts, and
    /// then those that stand in if its referrer cannot have leads any more. `here` is
    /// the link of the page that was sent; it is all we know of browsers without cookies.
    pub fn credit(visitor: Option<&Self>, campaign: CampaignId, rule: Attribution, now: Timestamp, here: ReferrerId) -> Vec<Touch> {
        let used = visitor.and_then(|visitor| visitor.used.iter().find(|used| used.campaign == campaign));
        let in_window = |touch: &Touch| now <= touch.at.plus_days(rule.window_days);
        let (first, last) = (used.map(|used| used.first).filter(in_window), used.map(|used| used.last).filter(in_window));
        let here = [first, last].into_iter().flatten().find(|touch| touch.referrer == here).unwrap_or(Touch { referrer: here, at: now });
        let mut credit: Vec<Touch> = Vec::with_capacity(3);
        let order = match rule.model {
            AttributionModel::First => [first.or(last), Some(here)],
            AttributionModel::Last => [last, Some(here)],
        };
        for touch in order.into_iter().flatten() {
            if credit.iter().all(|other| other.referrer != touch.referrer) {
                credit.push(touch);
            }
        }
        credit
    }
}

fn read_touch(bytes: &[u8]) -> Option<Touch> {
    let (referrer, at) = bytes.split_at(ID_LEN);
    Some(Touch { referrer: ReferrerId::from_uuid(Uuid::from_slice(referrer).ok()?), at: Timestamp::from_ms(i64::from_be_bytes(at.try_into().ok()?)) })
}

/// Words of programs that call themselves a browser. What does not, is a program anyway.
const PROGRAMS: [&str; 24] = [
    "bot",
    "crawl",
    "spider",
    "preview",
    "slurp",
    "headless",
    "lighthouse",
    "facebookexternalhit",
    "meta-externalagent",
    "facebookcatalog",
    "google-inspectiontool",
    "googleother",
    "google-read-aloud",
    "mediapartners-google",
    "apis-google",
    "feedfetcher",
    "chatgpt-user",
    "perplexity-user",
    "pingdom",
    "uptime",
    "monitor",
    "scan",
    "phantomjs",
    "embedly",
];

/// What a `User-Agent` tells: the kind of device, and whether it is a program that
/// looks at links: a crawler, a messenger's preview, a check of the mail server.
pub fn device(user_agent: &str) -> (Device, bool) {
    let agent = user_agent.to_ascii_lowercase();
    let browser = agent.starts_with("mozilla/") || agent.starts_with("opera/");
    // CUBOT makes phones.
    if !browser || PROGRAMS.iter().any(|word| agent.contains(word)) && !(agent.contains("cubot") && agent.matches("bot").count() == 1) {
        return (Device::Other, true);
    }
    let says = |words: &[&str]| words.iter().any(|word| agent.contains(word));
    let device = if says(&["ipad", "tablet", "kindle", "playbook"]) || (agent.contains("android") && !agent.contains("mobile")) {
        Device::Tablet
    } else if says(&["iphone", "ipod", "mobile", "windows phone"]) {
        Device::Phone
    } else if says(&["windows", "macintosh", "linux", "x11", "cros"]) {
        Device::Desktop
    } else {
        Device::Other
    };
    (device, false)
}

/// The host of the page that the link stood on; nothing of the rest of its address,
/// and nothing where it was a page of our own.
pub fn referring_host(referer: &str, own_host: Option<&str>) -> Option<String> {
    const LENGTH_MAX: usize = 253;
    let (scheme, rest) = referer.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if own_host.is_some_and(|own| own.eq_ignore_ascii_case(authority)) {
        return None;
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let plain = (1..=LENGTH_MAX).contains(&host.len()) && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_[]:".contains(&b));
    // Android apps name themselves: android-app://com.slack/
    (matches!(scheme, "http" | "https" | "android-app") && plain).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use goodword_core::time::DAY_MS;

    const NOW: Timestamp = Timestamp::from_ms(1_795_000_000_000);

    fn campaign(n: u128) -> CampaignId {
        CampaignId::from_uuid(Uuid::from_u128(n))
    }

    fn referrer(n: u128) -> ReferrerId {
        ReferrerId::from_uuid(Uuid::from_u128(n))
    }

    fn touch(n: u128, days_ago: i64) -> Touch {
        Touch { referrer: referrer(n), at: NOW.plus_ms(-days_ago * DAY_MS) }
    }

    fn visitor(touches: &[Touch]) -> Visitor {
        let mut visitor = Visitor::new(VisitorId::from_uuid(Uuid::from_u128(99)));
        for at in touches {
            visitor.touch(campaign(1), *at);
        }
        visitor
    }

    #[test]
    fn a_visitor_survives_the_cookie_and_nothing_else_does() {
        let signer = Signer::new(b"secret", "visitor");
        let mut before = visitor(&[touch(1, 3), touch(2, 1)]);
        before.touch(campaign(2), touch(3, 0));
        let header = before.write(&signer, true);
        assert!(header.ends_with("; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax; Secure"), "{header}");
        let pair = header.split(';').next().unwrap();
        assert_eq!(Visitor::read(&signer, &format!("a=b; {pair}; c")), Some(before));
        assert_eq!(Visitor::read(&signer, &pair.replace('A', "B")), None);
        assert_eq!(Visitor::read(&Signer::new(b"other", "visitor"), pair), None);
        for cookies in ["", "goodword_visitor", "goodword_visitor=", "x"] {
            assert_eq!(Visitor::read(&signer, cookies), None);
        }
    }

    #[test]
    fn the_cookie_stays_small() {
        let mut visitor = visitor(&[]);
        for n in 0..100 {
            visitor.touch(campaign(n), touch(n, 0));
        }
        let header = visitor.write(&Signer::new(b"secret", "visitor"), true);
        assert!(header.len() < 1_024, "{}", header.len());
        assert_eq!(visitor.used[0].campaign, campaign(99));
    }

    #[test]
    fn the_first_or_the_last_link_within_the_window_counts() {
        let first = Attribution { model: AttributionModel::First, window_days: 30 };
        let last = Attribution { model: AttributionModel::Last, window_days: 30 };
        let credit = |touches: &[Touch], rule, here| Visitor::credit(Some(&visitor(touches)), campaign(1), rule, NOW, referrer(here));
        assert_eq!(credit(&[touch(1, 3), touch(2, 2), touch(3, 1)], first, 3), [touch(1, 3), touch(3, 1)]);
        assert_eq!(credit(&[touch(1, 3), touch(2, 2), touch(3, 1)], last, 3), [touch(3, 1)]);
        // Another link was used in another tab since this page was opened.
        assert_eq!(credit(&[touch(1, 3), touch(2, 1)], last, 1), [touch(2, 1), touch(1, 3)]);
        // The first one is too old: the last one counts.
        assert_eq!(credit(&[touch(1, 31), touch(2, 1)], first, 2), [touch(2, 1)]);
        assert_eq!(credit(&[touch(1, 31)], first, 2), [touch(2, 0)]);
        // A browser without cookies, or a campaign that was not seen before: this page.
        assert_eq!(Visitor::credit(None, campaign(1), first, NOW, referrer(5)), [touch(5, 0)]);
        assert_eq!(Visitor::credit(Some(&visitor(&[touch(1, 1)])), campaign(2), first, NOW, referrer(5)), [touch(5, 0)]);
    }

    #[test]
    fn devices_and_programs() {
        for (agent, expected) in [
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1", (Device::Phone, false)),
            ("Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/131.0 Mobile Safari/537.36", (Device::Phone, false)),
            ("Mozilla/5.0 (Linux; Android 14; CUBOT X90) AppleWebKit/537.36 Chrome/131.0 Mobile Safari/537.36", (Device::Phone, false)),
            ("Mozilla/5.0 (Linux; Android 14; SM-X910) AppleWebKit/537.36 Chrome/131.0 Safari/537.36", (Device::Tablet, false)),
            ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1", (Device::Tablet, false)),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0", (Device::Desktop, false)),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.1 Safari/605.1.15", (Device::Desktop, false)),
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36", (Device::Desktop, false)),
            ("Mozilla/5.0 (SMART-TV)", (Device::Other, false)),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", (Device::Other, true)),
            (
                "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 Chrome/W.X.Y.Z Mobile Safari/537.36 (compatible; Googlebot/2.1)",
                (Device::Other, true),
            ),
            ("facebookexternalhit/1.1", (Device::Other, true)),
            ("WhatsApp/2.23.20.0", (Device::Other, true)),
            ("TelegramBot (like TwitterBot)", (Device::Other, true)),
            ("curl/8.5.0", (Device::Other, true)),
            ("", (Device::Other, true)),
        ] {
            assert_eq!(device(agent), expected, "{agent}");
        }
    }

    #[test]
    fn of_the_referring_page_only_the_host_is_kept() {
        let host = |referer: &str| referring_host(referer, Some("refer.example:8080"));
        assert_eq!(host("https://Mail.Example.com/inbox?q=secret#x").as_deref(), Some("mail.example.com"));
        assert_eq!(host("https://user:pass@blog.example:8443/a").as_deref(), Some("blog.example"));
        assert_eq!(host("http://[::1]:80/").as_deref(), Some("[::1]"));
        assert_eq!(host("android-app://com.slack/").as_deref(), Some("com.slack"));
        for nothing in ["", "about:blank", "https://", "https:///x", "javascript://x", "https://refer.example:8080/PRIYA", "https://a b/", "https://ä.example/"]
        {
            assert_eq!(host(nothing), None, "{nothing}");
        }
    }
}
