//! Typed ids: a UUIDv7 inside, `lead_01jd…` outside (the TypeID encoding:
//! prefix, underscore, 26 characters of lower-case Crockford base 32).
//!
//! A person in a campaign is one participant. As somebody who shares a link it is
//! known as `ref_…`, as somebody who was referred as `lead_…`: two names of the
//! same id, for the two roles.

use crate::{Invalid, time::Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use uuid::Uuid;

/// What an id names, and its prefix outside.
pub trait Kind: 'static {
    const PREFIX: &'static str;
}

/// The append-only list of everything that has an id.
macro_rules! ids {
    ($($(#[$doc:meta])* $kind:ident $id:ident $prefix:literal)*) => {$(
        #[derive(Debug)]
        pub enum $kind {}
        impl Kind for $kind { const PREFIX: &'static str = $prefix; }
        $(#[$doc])*
        pub type $id = Id<$kind>;
    )*};
}

ids! {
    Workspace WorkspaceId "ws"
    ApiKey ApiKeyId "key"
    Campaign CampaignId "cmp"
    RewardDefinition RewardDefinitionId "rdf"
    /// A participant as somebody who shares a link.
    Referrer ReferrerId "ref"
    /// A participant as somebody who was referred.
    Lead LeadId "lead"
    Conversion ConversionId "cnv"
    Reward RewardId "rwd"
    Signal SignalId "sig"
    Event EventId "evt"
    Visit VisitId "vis"
    Visitor VisitorId "vtr"
    Endpoint EndpointId "ep"
    Delivery DeliveryId "dlv"
    InboundHook InboundHookId "hook"
    InboundMessage InboundMessageId "msg"
    Replay ReplayId "rpl"
}

impl From<ReferrerId> for LeadId {
    fn from(id: ReferrerId) -> Self {
        Self::from_uuid(id.uuid())
    }
}

impl From<LeadId> for ReferrerId {
    fn from(id: LeadId) -> Self {
        Self::from_uuid(id.uuid())
    }
}

pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K> Id<K> {
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, kind: PhantomData }
    }

    pub const fn uuid(self) -> Uuid {
        self.uuid
    }
}

/// Mints ids from an instant and a seed: the same two give the same ids in the same
/// order, so that a command which is applied again says the same thing.
///
/// The seed's first 12 bits are the fraction of the instant's millisecond (see
/// [`Mint::seed`]) and become those of the ids, so that what came one after the other
/// within a millisecond is in that order too.
#[derive(Debug, Clone)]
pub struct Mint {
    at_ms: u64,
    fraction: u16,
    state: u128,
}

/// UUIDv7 has room for 12 bits between the milliseconds and the variant.
const FRACTION_BITS: u32 = 12;
const FRACTION_SHIFT: u32 = u128::BITS - FRACTION_BITS;

impl Mint {
    pub const fn new(at: Timestamp, seed: u128) -> Self {
        Self { at_ms: at.ms() as u64, fraction: (seed >> FRACTION_SHIFT) as u16, state: seed }
    }

    /// A seed of random bits for an instant so many nanoseconds into its millisecond.
    pub const fn seed(random: u128, nanoseconds: u32) -> u128 {
        let fraction = (nanoseconds as u128 * (1 << FRACTION_BITS) / 1_000_000) & ((1 << FRACTION_BITS) - 1);
        random >> FRACTION_BITS | fraction << FRACTION_SHIFT
    }

    /// The next id, ordered by the instant and random within it.
    pub fn id<K>(&mut self) -> Id<K> {
        let mut random = [0u8; 10];
        random[..2].copy_from_slice(&self.fraction.to_be_bytes());
        random[2..].copy_from_slice(&self.random().to_be_bytes());
        Id::from_uuid(uuid::Builder::from_unix_timestamp_millis(self.at_ms, &random).into_uuid())
    }

    /// 64 well-mixed bits (SplitMix64 over both halves of the state).
    pub fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let mut z = (self.state >> 64) as u64 ^ (self.state as u64).rotate_left(32);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

/// Crockford's base 32 in lower case, as the TypeID specification has it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.uuid.as_u128();
        let mut text = [0u8; ENCODED_LEN];
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(K::PREFIX)?;
        f.write_str("_")?;
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(format!("an id like {}_ and 26 letters and digits", K::PREFIX));
        let encoded = text.strip_prefix(K::PREFIX).and_then(|rest| rest.strip_prefix('_')).ok_or_else(invalid)?;
        if encoded.len() != ENCODED_LEN {
            return Err(invalid());
        }
        let mut value: u128 = 0;
        for (i, byte) in encoded.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|&c| c == byte).ok_or_else(invalid)? as u128;
            if i == 0 && digit > 7 {
                return Err(invalid()); // 26 digits hold 130 bits; an id has 128
            }
            value = value << 5 | digit;
        }
        Ok(Self::from_uuid(Uuid::from_u128(value)))
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<K: Kind> utoipa::PartialSchema for Id<K> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom(format!("{}-id", K::PREFIX))))
            .pattern(Some(format!("^{}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$", K::PREFIX)))
            .examples([serde_json::json!(format!("{}_01jd3x5w8me4qv9c2t7k6hz0ab", K::PREFIX))])
            .into()
    }
}

impl<K: Kind> utoipa::ToSchema for Id<K> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}_id", K::PREFIX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mint(at_ms: i64) -> Mint {
        Mint::new(Timestamp::from_ms(at_ms), 7)
    }

    #[test]
    fn an_id_survives_its_text() {
        let id: LeadId = mint(1_760_000_000_123).id();
        let text = id.to_string();
        assert!(text.starts_with("lead_01"), "{text}");
        assert_eq!(text.parse::<LeadId>().unwrap(), id);
    }

    #[test]
    fn ids_of_another_kind_or_shape_are_refused() {
        let lead = mint(1).id::<Lead>().to_string();
        assert!(lead.parse::<RewardId>().is_err());
        for text in ["", "lead_", "lead_x", "lead_zzzzzzzzzzzzzzzzzzzzzzzzzz", "lead_0123456789abcdefghijklmnop", "01jd3x5w8me4qv9c2t7k6hz0ab"] {
            assert!(text.parse::<LeadId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mint_repeats_itself_and_never_an_id() {
        let ids: std::collections::HashSet<EventId> = (0..10_000).scan(mint(5), |mint, _| Some(mint.id())).collect();
        assert_eq!(ids.len(), 10_000);
        assert_eq!(mint(5).id::<Event>(), mint(5).id::<Event>());
        assert!(mint(1_000).id::<Event>().to_string() < mint(1_001).id::<Event>().to_string());
        let within = |nanoseconds| Mint::new(Timestamp::from_ms(1_000), Mint::seed(u128::MAX / 3, nanoseconds)).id::<Event>();
        for nanoseconds in (0..999_000).step_by(1_000) {
            assert!(within(nanoseconds) < within(nanoseconds + 1_000));
        }
        assert!(within(999_999).to_string() < mint(1_001).id::<Event>().to_string());
    }
}
