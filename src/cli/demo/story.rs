//! What happens in the demo's year: everything that people do, planned ahead by dice that always fall the
//! same way. What the engine makes of it is not planned.

use super::people::{COMPANIES, Dice, Somebody, somebody};
use crate::engine::visit::Device;
use goodword_core::{
    campaign::ConversionKind,
    time::{DAY_MS, HOUR_MS, MINUTE_MS},
};

/// How much happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    /// Referrers, leads and visits of all campaigns.
    const fn numbers(self) -> (usize, usize, usize) {
        match self {
            Size::Small => (60, 260, 4_000),
            Size::Medium => (360, 2_000, 40_000),
            Size::Large => (2_000, 14_000, 300_000),
        }
    }
}

/// The campaigns of the live side, in this order.
pub const SOFTWARE: usize = 0;
pub const PLUMBER: usize = 1;
pub const AUTUMN: usize = 2;

pub const DAYS: i64 = 365;
/// The days on which the third campaign was live.
pub const AUTUMN_DAYS: (i64, i64) = (285, 325);

/// One thing that happens.
#[derive(Debug, Clone)]
pub enum Step {
    Enrol {
        referrer: usize,
    },
    Visit {
        referrer: usize,
        host: Option<&'static str>,
        device: Device,
        bot: bool,
        source: &'static str,
    },
    Join {
        lead: usize,
        used_before_ms: i64,
    },
    /// Somebody else's link, used by somebody who is a lead already.
    JoinAgain {
        lead: usize,
        referrer: usize,
    },
    /// A referrer uses their own link.
    JoinSelf {
        referrer: usize,
    },
    Claim {
        participant: usize,
        referrer: usize,
    },
    Convert {
        lead: usize,
        id: String,
        kind: ConversionKind,
        minor: i64,
        plan: &'static str,
    },
    Refund {
        campaign: usize,
        id: String,
        minor: Option<i64>,
    },
    Qualify {
        lead: usize,
    },
    Unqualify {
        lead: usize,
    },
    Reject {
        lead: usize,
        rejected: bool,
    },
    Suspend {
        referrer: usize,
        suspended: bool,
    },
    /// The company's people look at what waits for them.
    Operate,
    /// Midnight: holds end.
    Night,
    EndCampaign {
        campaign: usize,
    },
}

pub struct Referrer {
    pub campaign: usize,
    pub person: Somebody,
    pub company: Option<&'static str>,
    pub ip: String,
    pub source: &'static str,
}

pub struct Lead {
    pub referrer: usize,
    pub person: Somebody,
    pub company: &'static str,
    pub team_size: &'static str,
    pub ip: String,
    pub source: &'static str,
}

pub struct Story {
    pub referrers: Vec<Referrer>,
    pub leads: Vec<Lead>,
    /// In the order of time: milliseconds since the year began.
    pub steps: Vec<(i64, Step)>,
    /// How many coupons the plumber had printed: nearly all are used by now.
    pub coupons: usize,
}

pub const TEAM_SIZES: [&str; 4] = ["1 to 5", "6 to 20", "21 to 100", "More than 100"];
const SOURCES: [(&str, u64); 8] = [("link", 34), ("whatsapp", 20), ("email", 14), ("linkedin", 12), ("facebook", 8), ("x", 5), ("qr", 5), ("telegram", 2)];
const HOSTS: [(Option<&str>, u64); 8] = [
    (None, 46),
    (Some("www.linkedin.com"), 14),
    (Some("l.facebook.com"), 10),
    (Some("t.co"), 8),
    (Some("mail.google.com"), 10),
    (Some("www.google.com"), 5),
    (Some("www.reddit.com"), 4),
    (Some("news.ycombinator.com"), 3),
];
const PHONES_FIRST: [(Device, u64); 4] = [(Device::Phone, 61), (Device::Desktop, 32), (Device::Tablet, 5), (Device::Other, 2)];
const DESKTOPS_FIRST: [(Device, u64); 4] = [(Device::Desktop, 58), (Device::Phone, 37), (Device::Tablet, 3), (Device::Other, 2)];
/// Monday to Sunday, for companies and for neighbours.
const WORKDAYS: [u64; 7] = [17, 19, 19, 18, 15, 6, 6];
const WEEKENDS: [u64; 7] = [11, 11, 12, 13, 15, 20, 18];
/// Hours of the day in UTC.
const HOURS: [u64; 24] = [1, 1, 1, 1, 1, 2, 3, 5, 8, 10, 11, 10, 9, 10, 11, 10, 9, 8, 8, 8, 7, 5, 3, 2];
const PLANS: [(&str, i64); 3] = [("starter", 2_900), ("team", 9_900), ("business", 24_900)];

struct Writer {
    dice: Dice,
    /// Nothing happens later.
    end: i64,
    /// The weekday of the first day, from Monday.
    weekday: i64,
    steps: Vec<(i64, Step)>,
}

impl Writer {
    /// A time on one of the days from `from` to `to`: more later in the year than earlier, by the weekday, and
    /// less in the holidays of a campaign that works for companies.
    fn time(&mut self, from: i64, to: i64, week: &[u64; 7]) -> i64 {
        loop {
            let day = self.dice.between(from, to.max(from));
            let weekday = (self.weekday + day).rem_euclid(7) as usize;
            let growth = 40 + 60 * day.max(0) as u64 / DAYS as u64;
            if self.dice.below(20) < week[weekday] && self.dice.below(100) < growth {
                return day * DAY_MS + self.minute();
            }
        }
    }

    /// A moment of a day.
    fn minute(&mut self) -> i64 {
        let hours: Vec<(i64, u64)> = HOURS.iter().enumerate().map(|(hour, weight)| (hour as i64, *weight)).collect();
        *self.dice.weighted(&hours) * HOUR_MS + self.dice.between(0, HOUR_MS - 1)
    }

    fn add(&mut self, at: i64, step: Step) {
        if at < self.end {
            self.steps.push((at, step));
        }
    }

    /// Some time after something else.
    fn after(&mut self, at: i64, from: i64, to: i64, step: Step) {
        let at = at + self.dice.between(from, to);
        self.add(at, step);
    }

    /// An address of the networks that are kept free for examples.
    fn ip(&mut self) -> String {
        let network = *self.dice.pick(&["192.0.2", "198.51.100", "203.0.113"]);
        format!("{network}.{}", self.dice.between(1, 254))
    }
}

const fn week_of(campaign: usize) -> &'static [u64; 7] {
    if campaign == PLUMBER { &WEEKENDS } else { &WORKDAYS }
}

/// The days of a campaign.
const fn days_of(campaign: usize) -> (i64, i64) {
    if campaign == AUTUMN { AUTUMN_DAYS } else { (2, DAYS - 1) }
}

/// Tells the year up to `end`, in milliseconds since it began. `weekday` is that of its first day, from Monday.
pub fn tell(size: Size, weekday: i64, end: i64, seed: u64) -> Story {
    let (referrer_count, lead_count, visit_count) = size.numbers();
    let mut writer = Writer { dice: Dice::new(seed), end, weekday, steps: Vec::new() };
    let mut referrers = Vec::new();
    let mut enrolled = Vec::new();
    let campaigns = [(SOFTWARE, 56), (PLUMBER, 36), (AUTUMN, 8)];
    for number in 0..referrer_count {
        let campaign = if number < 4 { number % 2 } else { *writer.dice.weighted(&campaigns) };
        let (first, last) = days_of(campaign);
        // The first few are there from the first days: they have the longest story.
        let at = if number < 12 { writer.time(first, first + 6, week_of(campaign)) } else { writer.time(first, last - 5, week_of(campaign)) };
        let company = (campaign == SOFTWARE && writer.dice.chance(60)).then(|| *writer.dice.pick(&COMPANIES));
        let source = *writer.dice.weighted(&[("form", 62), ("api", 20), ("hubspot", 10), ("import", 8)]);
        let (person, ip) = (somebody(&mut writer.dice, number), writer.ip());
        referrers.push(Referrer { campaign, person, company, ip, source });
        enrolled.push(at);
        writer.add(at, Step::Enrol { referrer: number });
    }

    // Few bring many: the weight falls with the rank, which is drawn.
    let weights: Vec<(usize, u64)> = (0..referrer_count).map(|i| (i, 1_000 / (2 + writer.dice.below(referrer_count as u64)) + 1)).collect();
    let mut leads: Vec<Lead> = Vec::new();
    let mut joined = Vec::new();
    for number in 0..lead_count {
        let referrer = *writer.dice.weighted(&weights);
        let campaign = referrers[referrer].campaign;
        let (_, last) = days_of(campaign);
        let at = writer.time(enrolled[referrer] / DAY_MS + 1, last, week_of(campaign));
        let mut person = somebody(&mut writer.dice, referrer_count + number);
        let mut ip = writer.ip();
        if writer.dice.chance(3) {
            person.email = person.email.replacen('@', "+promo@", 1);
        }
        if writer.dice.chance(3) {
            ip = referrers[referrer].ip.clone();
        }
        let source = *writer.dice.weighted(&[("form", 70), ("widget", 14), ("api", 10), ("zapier", 6)]);
        let (company, team_size) = (*writer.dice.pick(&COMPANIES), *writer.dice.pick(&TEAM_SIZES));
        leads.push(Lead { referrer, person, company, team_size, ip, source });
        joined.push(at);
        let used_before_ms = if writer.dice.chance(70) { writer.dice.between(MINUTE_MS, 20 * MINUTE_MS) } else { writer.dice.between(HOUR_MS, 20 * DAY_MS) };
        let used_before_ms = used_before_ms.min(at - enrolled[referrer]).max(0);
        writer.add(at, Step::Join { lead: number, used_before_ms });
        after_joining(&mut writer, number, campaign, at);
        if writer.dice.chance(2) {
            let other = writer.dice.below(referrer_count as u64) as usize;
            if referrers[other].campaign == campaign && other != referrer {
                let later = at.max(enrolled[other]) + writer.dice.between(HOUR_MS, 9 * DAY_MS);
                writer.add(later, Step::JoinAgain { lead: number, referrer: other });
            }
        }
    }

    for referrer in 0..referrer_count {
        let at = enrolled[referrer];
        if writer.dice.chance(4) {
            let later = at + writer.dice.between(HOUR_MS, 3 * DAY_MS);
            writer.add(later, Step::JoinSelf { referrer });
        }
        if writer.dice.chance(2) {
            let later = at + writer.dice.between(20 * DAY_MS, 90 * DAY_MS);
            writer.add(later, Step::Suspend { referrer, suspended: true });
            if writer.dice.chance(40) {
                let again = later + writer.dice.between(2 * DAY_MS, 15 * DAY_MS);
                writer.add(again, Step::Suspend { referrer, suspended: false });
            }
        }
        let other = writer.dice.below(referrer_count as u64) as usize;
        if writer.dice.chance(3) && other != referrer && referrers[other].campaign == referrers[referrer].campaign {
            let later = at.max(enrolled[other]) + writer.dice.between(5 * DAY_MS, 40 * DAY_MS);
            writer.add(later, Step::Claim { participant: referrer, referrer: other });
        }
    }

    for _ in 0..visit_count {
        let referrer = *writer.dice.weighted(&weights);
        let campaign = referrers[referrer].campaign;
        let (_, last) = days_of(campaign);
        let at = writer.time(enrolled[referrer] / DAY_MS + 1, last, week_of(campaign));
        let bot = writer.dice.chance(6);
        let devices = if campaign == SOFTWARE { &DESKTOPS_FIRST } else { &PHONES_FIRST };
        let device = if bot { Device::Other } else { *writer.dice.weighted(devices) };
        let (host, source) = (*writer.dice.weighted(&HOSTS), *writer.dice.weighted(&SOURCES));
        writer.add(at, Step::Visit { referrer, host, device, bot, source });
    }

    for day in 0..DAYS {
        writer.add(day * DAY_MS, Step::Night);
        if (weekday + day) % 7 < 5 {
            writer.add(day * DAY_MS + 9 * HOUR_MS + 30 * MINUTE_MS, Step::Operate);
        }
    }
    writer.add(AUTUMN_DAYS.1 * DAY_MS + 18 * HOUR_MS, Step::EndCampaign { campaign: AUTUMN });
    let neighbours = joined.iter().zip(&leads).filter(|(at, lead)| **at < end && referrers[lead.referrer].campaign == PLUMBER).count();
    let coupons = neighbours * 100 / 91 + 2;
    let mut steps = writer.steps;
    steps.sort_by_key(|(at, _)| *at);
    Story { referrers, leads, steps, coupons }
}

/// What a lead does, and what is done with it.
fn after_joining(writer: &mut Writer, lead: usize, campaign: usize, at: i64) {
    match campaign {
        PLUMBER => {
            // A job, weeks later; some are told by hand because the plumber forgot the code.
            match writer.dice.below(100) {
                0..46 => {
                    let done = at + writer.dice.between(2 * DAY_MS, 30 * DAY_MS);
                    let minor = writer.dice.between(60, 640) * 100;
                    let id = format!("JOB-{:05}", 10_000 + lead);
                    writer.add(done, Step::Convert { lead, id: id.clone(), kind: ConversionKind::Order, minor, plan: "repair" });
                    if writer.dice.chance(4) {
                        let back = done + writer.dice.between(DAY_MS, 12 * DAY_MS);
                        writer.add(back, Step::Refund { campaign, id, minor: None });
                    }
                }
                46..62 => {
                    let done = at + writer.dice.between(DAY_MS, 25 * DAY_MS);
                    writer.add(done, Step::Qualify { lead });
                    if writer.dice.chance(6) {
                        writer.after(done, DAY_MS, 6 * DAY_MS, Step::Unqualify { lead });
                    }
                }
                62..68 => {
                    let looked = at + writer.dice.between(HOUR_MS, 4 * DAY_MS);
                    writer.add(looked, Step::Reject { lead, rejected: true });
                    if writer.dice.chance(25) {
                        writer.after(looked, HOUR_MS, 3 * DAY_MS, Step::Reject { lead, rejected: false });
                    }
                }
                _ => {}
            }
        }
        _ => {
            if writer.dice.chance(5) {
                return writer.after(at, HOUR_MS, 5 * DAY_MS, Step::Reject { lead, rejected: true });
            }
            if !writer.dice.chance(52) {
                return;
            }
            let patience = if campaign == AUTUMN { 9 * DAY_MS } else { 35 * DAY_MS };
            let first = at + if writer.dice.chance(3) { 20_000 } else { writer.dice.between(HOUR_MS, patience) };
            if writer.dice.chance(30) {
                // A trial, which the rule's condition does not count.
                let id = format!("INV-{:06}-0", 100_000 + lead);
                writer.add(first - HOUR_MS, Step::Convert { lead, id, kind: ConversionKind::Invoice, minor: 0, plan: "free" });
            }
            if writer.dice.chance(8) {
                let id = format!("DEAL-{:05}", 20_000 + lead);
                writer.add(first + HOUR_MS, Step::Convert { lead, id, kind: ConversionKind::Deal, minor: 120_000, plan: "business" });
            }
            let (plan, minor) = *writer.dice.weighted(&[(PLANS[0], 52), (PLANS[1], 36), (PLANS[2], 12)]);
            let months = if campaign == AUTUMN { 1 } else { writer.dice.between(1, 11) };
            for month in 0..months {
                let id = format!("INV-{:06}-{}", 100_000 + lead, month + 1);
                let paid = first + month * 30 * DAY_MS;
                writer.add(paid, Step::Convert { lead, id: id.clone(), kind: ConversionKind::Invoice, minor, plan });
                if writer.dice.chance(3) {
                    let part = writer.dice.chance(50).then_some(minor / 2);
                    writer.after(paid, DAY_MS, 20 * DAY_MS, Step::Refund { campaign, id, minor: part });
                }
                if writer.dice.chance(1) {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let (a, b) = (tell(Size::Small, 3, DAYS * DAY_MS, 7), tell(Size::Small, 3, DAYS * DAY_MS, 7));
        assert_eq!(a.steps.len(), b.steps.len());
        assert_eq!(format!("{:?}", &a.steps[..200]), format!("{:?}", &b.steps[..200]));
        assert_ne!(tell(Size::Small, 3, DAYS * DAY_MS, 8).leads[0].person.email, a.leads[0].person.email);
    }

    #[test]
    fn everybody_is_made_up_and_nobody_is_there_twice() {
        let story = tell(Size::Medium, 0, DAYS * DAY_MS, 1);
        let people: Vec<&str> = story.referrers.iter().map(|r| r.person.email.as_str()).chain(story.leads.iter().map(|l| l.person.email.as_str())).collect();
        let distinct: std::collections::HashSet<&&str> = people.iter().collect();
        assert_eq!(distinct.len(), people.len());
        for email in people {
            assert!(email.ends_with("@example.com") || email.ends_with("@example.org") || email.ends_with("@example.net"), "{email}");
            assert!(email.parse::<goodword_core::text::Email>().is_ok(), "{email}");
        }
        assert!(story.steps.is_sorted_by_key(|(at, _)| *at));
    }
}
