//! How often somebody may ask, and who is asking.

use super::{App, Problem, context};
use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderMap, HeaderName, header, request::Parts},
};
use ipnet::IpNet;
use std::{
    collections::{HashMap, hash_map::RandomState},
    convert::Infallible,
    hash::{BuildHasher, Hash},
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Instant,
};

const SHARDS: usize = 16;
/// Callers remembered at most in each shard: 16 × 4,096 × 40 bytes is 2.5 MiB.
const SHARD_CALLERS_MAX: usize = 4_096;
const MINUTE_US: u64 = 60_000_000;

/// Token buckets, one for each caller: a minute's worth may come at once, and refills evenly.
///
/// A bucket is one number, the instant at which it will be full again (GCRA): idle buckets are those in the
/// past, and can be forgotten without anybody noticing.
pub struct RateLimit<K> {
    shards: [Mutex<HashMap<K, u64>>; SHARDS],
    hasher: RandomState,
    per_minute: u32,
    /// How long one request takes to refill.
    cost_us: u64,
    start: Instant,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until everything is there again.
    pub reset_s: u64,
    /// Seconds until the next request is possible, when this one was not.
    pub retry_after_s: Option<u64>,
}

impl<K: Hash + Eq> RateLimit<K> {
    /// `per_minute` 0 switches the limit off.
    pub fn new(per_minute: u32) -> Self {
        let cost_us = MINUTE_US.checked_div(per_minute.into()).unwrap_or(0).max(1);
        Self { shards: Default::default(), hasher: RandomState::new(), per_minute, cost_us, start: Instant::now() }
    }

    /// Takes one request from the caller's bucket. None when there is no limit.
    pub fn take(&self, key: K) -> Option<Quota> {
        self.take_at(key, self.start.elapsed().as_micros() as u64)
    }

    fn take_at(&self, key: K, now_us: u64) -> Option<Quota> {
        if self.per_minute == 0 {
            return None;
        }
        let capacity_us = self.cost_us * u64::from(self.per_minute);
        let mut shard = self.shards[self.hasher.hash_one(&key) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_CALLERS_MAX && !shard.contains_key(&key) {
            shard.retain(|_, full_us| *full_us > now_us);
            if shard.len() >= SHARD_CALLERS_MAX {
                shard.clear(); // so many callers at once are a crowd or an attack from many places: memory comes first
            }
        }
        let full_us = shard.entry(key).or_insert(now_us);
        let taken_us = (*full_us).max(now_us) + self.cost_us - now_us;
        let over_us = taken_us.saturating_sub(capacity_us);
        if over_us == 0 {
            *full_us = now_us + taken_us;
        }
        let used_us = if over_us == 0 { taken_us } else { taken_us - self.cost_us };
        Some(Quota {
            limit: self.per_minute,
            remaining: ((capacity_us - used_us.min(capacity_us)) / self.cost_us) as u32,
            reset_s: used_us.div_ceil(1_000_000),
            retry_after_s: (over_us > 0).then(|| over_us.div_ceil(1_000_000)),
        })
    }
}

impl Quota {
    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.insert(HeaderName::from_static("ratelimit-limit"), self.limit.into());
        headers.insert(HeaderName::from_static("ratelimit-remaining"), self.remaining.into());
        headers.insert(HeaderName::from_static("ratelimit-reset"), self.reset_s.into());
    }

    /// Leaves the quota for the answer's headers; refuses when it is used up.
    pub fn check(self) -> Result<(), Problem> {
        context::leave_quota(self);
        self.retry_after_s.map_or(Ok(()), |seconds| Err(Problem::too_many(seconds)))
    }
}

/// An address as far as limits go: a household has a whole /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbourhood(u64, bool);

impl From<IpAddr> for Neighbourhood {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(u32::from(ip).into(), false),
            IpAddr::V6(ip) => Self((u128::from(ip) >> 64) as u64, true),
        }
    }
}

/// The socket's other end, put into each request by [`super::server`].
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Whose request it is: the peer's address, or what trusted proxies say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl ClientIp {
    /// Walks the addresses from the nearest to the farthest as long as they are trusted proxies: the first
    /// that is not is the client. What stands before it was written by the client, who may lie.
    pub fn of(extensions: &Extensions, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = extensions.get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip().to_canonical());
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
        if !is_trusted(peer) {
            return Self(peer);
        }
        let walk = |hops: Vec<Option<IpAddr>>| {
            let mut client = peer;
            for hop in hops.into_iter().rev() {
                let Some(ip) = hop else { break }; // "unknown", "_hidden", nonsense: the last proxy is all we know
                client = ip;
                if !is_trusted(ip) {
                    break;
                }
            }
            client
        };
        let (standard, usual) = (headers.contains_key(FORWARDED), headers.contains_key(X_FORWARDED_FOR));
        let by_standard = if standard { walk(forwarded_hops(headers)) } else { peer };
        let by_usual = if usual { walk(list(headers, X_FORWARDED_FOR, parse_address)) } else { peer };
        Self(match (standard, usual) {
            (true, false) => by_standard,
            (false, true) => by_usual,
            // A proxy writes one of the two and passes the other on as the client wrote it.
            _ if by_standard == by_usual => by_usual,
            _ => peer,
        })
    }
}

const FORWARDED: HeaderName = header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a proxy stood between: then an address of the local network is not somebody local.
pub(super) fn was_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED) || headers.contains_key(X_FORWARDED_FOR)
}

fn list(headers: &HeaderMap, name: HeaderName, parse: impl Fn(&str) -> Option<IpAddr>) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| value.to_str().unwrap_or("?").split(',')).map(|element| parse(element.trim())).collect()
}

fn forwarded_hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    list(headers, FORWARDED, |element| {
        let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        let (_, node) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
        parse_address(node.trim().trim_matches('"'))
    })
}

/// An address with or without a port, IPv6 with or without brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(ip, _)| ip);
    bare.parse::<IpAddr>().ok().or_else(|| bare.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|ip| ip.to_canonical())
}

impl FromRequestParts<App> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions, &parts.headers, &app.config.trusted_proxies))
    }
}

/// The limits of a running server.
pub struct Limits {
    /// Requests of an API key.
    pub keys: RateLimit<uuid::Uuid>,
    /// Requests of an API key to the interfaces that stand in for another product.
    pub compat: RateLimit<uuid::Uuid>,
    /// Submissions of public forms from an address.
    pub forms: RateLimit<Neighbourhood>,
}

impl Limits {
    pub fn new(per_key_per_minute: u32, compat_per_minute: u32, forms_per_minute: u32) -> Self {
        Self { keys: RateLimit::new(per_key_per_minute), compat: RateLimit::new(compat_per_minute), forms: RateLimit::new(forms_per_minute) }
    }

    /// Counts a public form that came from this address.
    pub fn form(&self, client: ClientIp) -> Result<(), Problem> {
        self.forms.take(client.0.into()).map_or(Ok(()), Quota::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_minutes_worth_may_come_at_once_and_refills_evenly() {
        let limit = RateLimit::new(60);
        for left in (0..60).rev() {
            let quota = limit.take_at("a", 1_000).unwrap();
            assert_eq!((quota.remaining, quota.retry_after_s), (left, None));
        }
        let refused = limit.take_at("a", 1_000).unwrap();
        assert_eq!((refused.remaining, refused.retry_after_s, refused.reset_s), (0, Some(1), 60));
        assert_eq!(limit.take_at("b", 1_000).unwrap().remaining, 59, "another caller has a bucket of their own");
        assert_eq!(limit.take_at("a", 1_001_000).unwrap().retry_after_s, None, "a second later one is back");
        assert_eq!(limit.take_at("a", 1_001_000).unwrap().retry_after_s, Some(1), "refusals cost nothing, but one is one");
        assert_eq!(limit.take_at("a", 1_000_000_000).unwrap().remaining, 59, "all is back in the end");
    }

    #[test]
    fn zero_switches_the_limit_off() {
        assert_eq!(RateLimit::new(0).take(1), None);
    }

    #[test]
    fn memory_is_bounded() {
        let limit = RateLimit::new(1);
        for caller in 0..(SHARDS * SHARD_CALLERS_MAX * 3) {
            limit.take_at(caller, 5);
        }
        let remembered: usize = limit.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(remembered <= SHARDS * SHARD_CALLERS_MAX, "{remembered}");
    }

    #[test]
    fn a_household_is_one_caller() {
        let ip = |text: &str| Neighbourhood::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff::9"));
        assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
        assert_ne!(ip("10.0.0.1"), ip("10.0.0.2"));
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_not_a_trusted_proxy() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).into();
        type Sent = &'static [(&'static str, &'static str)];
        let table: &[(&str, Sent, &str)] = &[
            ("198.51.100.9", &[], "198.51.100.9"),
            ("198.51.100.9", &[("x-forwarded-for", "1.1.1.1")], "198.51.100.9"), // a stranger may say what they like
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
            ("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 203.0.113.7")], "203.0.113.7"), // forged in front
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7, 10.2.3.4")], "203.0.113.7"), // two proxies of ours
            ("10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.7")], "203.0.113.7"), // two lines are one list
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7, garbage")], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7:4711")], "203.0.113.7"),
            ("10.0.0.1", &[("x-forwarded-for", "10.9.9.9")], "10.9.9.9"), // only proxies: the farthest of them
            ("10.0.0.1", &[("forwarded", "for=203.0.113.7;proto=https, for=10.1.1.1")], "203.0.113.7"),
            ("10.0.0.1", &[("forwarded", "For=\"[2001:db8::7]:4711\"")], "2001:db8::7"),
            ("10.0.0.1", &[("forwarded", "for=unknown")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=203.0.113.7"), ("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.7")], "10.0.0.1"), // one of them is forged
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
            ("fd00::1", &[("x-forwarded-for", "::ffff:203.0.113.7")], "203.0.113.7"),
        ];
        for (peer, sent, expected) in table {
            let mut extensions = Extensions::new();
            extensions.insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
            let mut headers = HeaderMap::new();
            for (name, value) in *sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(ClientIp::of(&extensions, &headers, &trusted).0.to_string(), *expected, "{peer} {sent:?}");
        }
    }
}
