//! Money: integer minor units with an ISO 4217 currency. Amounts of different
//! currencies never meet, and nothing is ever a floating-point number.

use crate::Invalid;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};
use std::{borrow::Cow, fmt, str::FromStr};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// An ISO 4217 currency code, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// How many decimals its minor unit has: 2 for EUR, 0 for JPY, 3 for KWD.
    pub fn decimals(&self) -> u32 {
        iso_currency::Currency::from_code(self.as_str()).and_then(|c| c.exponent()).unwrap_or(2).into()
    }
}

impl FromStr for Currency {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let upper = text.trim().to_ascii_uppercase();
        match (iso_currency::Currency::from_code(&upper), <[u8; 3]>::try_from(upper.as_bytes())) {
            (Some(_), Ok(code)) => Ok(Self(code)),
            _ => Err(Invalid::new("an ISO 4217 currency code like EUR")),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
impl utoipa::PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("ISO 4217 currency code"))
            .pattern(Some("^[A-Z]{3}$"))
            .examples([serde_json::json!("EUR")])
            .into()
    }
}
impl utoipa::ToSchema for Currency {}

/// An amount in minor units (cents). Outside:
/// `{"amount_minor": 1250, "currency": "EUR", "amount": "12.50"}`; when read,
/// either `amount_minor` or a decimal `amount` will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

/// No amount is larger, so that sums of a million of them stay within 64 bits.
pub const MAX_MINOR: i64 = 1_000_000_000_000;

impl Money {
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// `"12.50"` of EUR is 1250. No more decimals than the currency has, unless
    /// they are zeros.
    pub fn parse(decimal: &str, currency: Currency) -> Result<Self, Invalid> {
        let decimals = currency.decimals() as usize;
        let invalid = || Invalid::new(format!("a decimal amount with at most {decimals} decimals, like {}", Money::new(1250, currency).decimal()));
        let text = decimal.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) || digits.ends_with('.') {
            return Err(invalid());
        }
        let (kept, rest) = fraction.split_at(fraction.len().min(decimals));
        if rest.bytes().any(|b| b != b'0') {
            return Err(invalid());
        }
        let minor: i64 = format!("{whole}{kept:0<decimals$}").parse().map_err(|_| invalid())?;
        if minor > MAX_MINOR {
            return Err(Invalid::new("an amount of at most 1,000,000,000,000 minor units"));
        }
        Ok(Self::new(if negative { -minor } else { minor }, currency))
    }

    /// `12.50`, without the currency.
    pub fn decimal(&self) -> String {
        let decimals = self.currency.decimals();
        let scale = 10u64.pow(decimals);
        let sign = if self.minor < 0 { "-" } else { "" };
        let absolute = self.minor.unsigned_abs();
        match decimals {
            0 => format!("{sign}{absolute}"),
            n => format!("{sign}{}.{:0width$}", absolute / scale, absolute % scale, width = n as usize),
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decimal(), self.currency)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Money", 3)?;
        out.serialize_field("amount_minor", &self.minor)?;
        out.serialize_field("currency", &self.currency)?;
        out.serialize_field("amount", &self.decimal())?;
        out.end()
    }
}

/// A decimal as people's tools send it: a string, or a JSON number. A number is
/// read through its shortest decimal text, which is what the sender wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Decimal(pub String);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(de::Error::custom(r#"expected a decimal amount like "12.50""#)),
        }
    }
}
impl utoipa::PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::from_iter([Type::String, Type::Number]))
            .description(Some("A decimal amount with at most as many decimals as the currency has"))
            .examples([serde_json::json!("12.50")])
            .into()
    }
}
impl utoipa::ToSchema for Decimal {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyInput {
    amount_minor: Option<i64>,
    amount: Option<Decimal>,
    currency: Currency,
}

/// Joins the two ways to give an amount. Both may be given where they agree.
pub fn amount_from(amount_minor: Option<i64>, amount: Option<&Decimal>, currency: Currency) -> Result<Option<Money>, Invalid> {
    let parsed = amount.map(|decimal| Money::parse(&decimal.0, currency)).transpose()?;
    match (amount_minor, parsed) {
        (Some(minor), Some(money)) if money.minor != minor => {
            Err(Invalid::new(format!("amount and amount_minor to agree, but {} is not {minor} minor units", money.decimal())))
        }
        (Some(minor), _) if minor.abs() > MAX_MINOR => Err(Invalid::new("an amount of at most 1,000,000,000,000 minor units")),
        (Some(minor), _) => Ok(Some(Money::new(minor, currency))),
        (None, parsed) => Ok(parsed),
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let input = MoneyInput::deserialize(deserializer)?;
        amount_from(input.amount_minor, input.amount.as_ref(), input.currency)
            .map_err(de::Error::custom)?
            .ok_or_else(|| de::Error::custom("expected amount_minor (whole minor units) or amount (a decimal)"))
    }
}

impl utoipa::PartialSchema for Money {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .description(Some("Money: integer minor units with an ISO 4217 currency. When written, give `amount_minor` or `amount`."))
            .property(
                "amount_minor",
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Int64)))
                    .minimum(Some(-MAX_MINOR))
                    .maximum(Some(MAX_MINOR)),
            )
            .property("currency", Currency::schema())
            .property("amount", Decimal::schema())
            .required("currency")
            .examples([serde_json::json!({"amount_minor": 1250, "currency": "EUR", "amount": "12.50"})])
            .into()
    }
}
impl utoipa::ToSchema for Money {}

/// A percentage with at most two decimals, kept in basis points (12.5 % is 1250).
/// Outside a JSON number. 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u32);

impl Percent {
    pub fn from_basis_points(basis_points: u32) -> Result<Self, Invalid> {
        if basis_points <= 10_000 { Ok(Self(basis_points)) } else { Err(Invalid::new("a percentage from 0 to 100")) }
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The share of an amount, rounded half to even on the minor unit.
    pub fn of(self, money: Money) -> Money {
        let product = i128::from(money.minor) * i128::from(self.0);
        let (quotient, remainder) = (product.div_euclid(10_000), product.rem_euclid(10_000));
        let up = remainder > 5_000 || (remainder == 5_000 && quotient % 2 != 0);
        Money::new((quotient + i128::from(up)) as i64, money.currency)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole} %"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{} %", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02} %"),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) { serializer.serialize_u32(self.0 / 100) } else { serializer.serialize_f64(f64::from(self.0) / 100.0) }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decimal = Decimal::deserialize(deserializer)?.0;
        let invalid = || de::Error::custom("expected a percentage from 0 to 100 with at most two decimals");
        let (whole, fraction) = decimal.split_once('.').unwrap_or((&decimal, ""));
        if fraction.len() > 2 && fraction[2..].bytes().any(|b| b != b'0') {
            return Err(invalid());
        }
        let kept = &fraction[..fraction.len().min(2)];
        let basis_points = format!("{whole}{kept:0<2}").parse().map_err(|_| invalid())?;
        Self::from_basis_points(basis_points).map_err(|_| invalid())
    }
}
impl utoipa::PartialSchema for Percent {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0.01)).maximum(Some(100)).multiple_of(Some(0.01)).examples([serde_json::json!(12.5)]).into()
    }
}
impl utoipa::ToSchema for Percent {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    #[test]
    fn decimals_follow_the_currency() {
        assert_eq!(Money::parse("12.5", currency("EUR")).unwrap().minor, 1250);
        assert_eq!(Money::parse("12.500", currency("EUR")).unwrap().minor, 1250);
        assert_eq!(Money::parse("1250", currency("jpy")).unwrap().minor, 1250);
        assert_eq!(Money::parse("1.234", currency("KWD")).unwrap().minor, 1234);
        assert_eq!(Money::parse("-0.05", currency("EUR")).unwrap().decimal(), "-0.05");
        for text in ["", ".", "1.", ".5", "1,50", "1.505", "1e3", "--1", "99999999999999999999"] {
            assert!(Money::parse(text, currency("EUR")).is_err(), "{text}");
        }
        assert!(Money::parse("1.5", currency("JPY")).is_err());
    }

    #[test]
    fn an_amount_that_contradicts_itself_is_refused() {
        let money: Money = serde_json::from_str(r#"{"amount":"4.00","amount_minor":400,"currency":"EUR"}"#).unwrap();
        assert_eq!(money.to_string(), "4.00 EUR");
        assert!(serde_json::from_str::<Money>(r#"{"amount":"4.00","amount_minor":401,"currency":"EUR"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"currency":"EUR"}"#).is_err());
        assert_eq!(serde_json::from_str::<Money>(r#"{"amount":12.5,"currency":"EUR"}"#).unwrap().minor, 1250);
    }

    #[test]
    fn shares_round_half_to_even() {
        let share = |bp, minor| Percent::from_basis_points(bp).unwrap().of(Money::new(minor, currency("EUR"))).minor;
        assert_eq!(share(1_000, 1250), 125);
        assert_eq!(share(50, 100), 0); // 0.5 of a cent: to even
        assert_eq!(share(50, 300), 2); // 1.5: to even
        assert_eq!(share(1_250, 999), 125); // 124.875
    }

    proptest! {
        #[test]
        fn every_amount_survives_its_text(minor in -MAX_MINOR..=MAX_MINOR, code in prop::sample::select(vec!["EUR", "JPY", "KWD", "USD"])) {
            let money = Money::new(minor, currency(code));
            prop_assert_eq!(Money::parse(&money.decimal(), money.currency).unwrap(), money);
        }

        #[test]
        fn a_share_is_never_more_than_the_whole(bp in 0u32..=10_000, minor in 0..=MAX_MINOR) {
            let share = Percent::from_basis_points(bp).unwrap().of(Money::new(minor, currency("EUR")));
            prop_assert!(share.minor >= 0 && share.minor <= minor);
        }

        #[test]
        fn percentages_survive_json(bp in 0u32..=10_000) {
            let percent = Percent::from_basis_points(bp).unwrap();
            let json = serde_json::to_string(&percent).unwrap();
            prop_assert_eq!(serde_json::from_str::<Percent>(&json).unwrap(), percent);
        }
    }
}
