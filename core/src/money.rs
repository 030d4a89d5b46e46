//! Money: integer minor units with an ISO 4217 currency. Amounts of different
//! currencies never meet, and nothing is ever a floating-point number.

use crate::Invalid;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};
use std::{borrow::Cow, fmt, str::FromStr};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

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

    /// Whether people write it so beside an amount: `EUR`, `€`, and for dollars `$`, `US$`, `A$`.
    fn is_written(&self, words: &str) -> bool {
        let upper = words.to_uppercase();
        let symbol = iso_currency::Currency::from_code(self.as_str()).map(|currency| currency.symbol().symbol.to_uppercase()).unwrap_or_default();
        let as_symbol = |written: &str| !written.is_empty() && written == symbol;
        // `US$` and `$ USD`: the beginning of the code, or all of it, beside the sign.
        upper == self.as_str()
            || as_symbol(&upper)
            || upper.strip_suffix(&symbol).is_some_and(|code| !symbol.is_empty() && !code.trim().is_empty() && self.as_str().starts_with(code.trim()))
            || upper.strip_prefix(&symbol).is_some_and(|code| !symbol.is_empty() && code.trim() == self.as_str())
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
impl ToSchema for Currency {}

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
        let too_large = || Invalid::new("an amount of at most 1,000,000,000,000 minor units");
        let text = decimal.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) || digits.ends_with('.') {
            // JSON numbers beyond 64 bits come as `1e20`.
            let is_power = digits.starts_with(|c: char| c.is_ascii_digit()) && digits.parse().is_ok_and(|amount: f64| amount > MAX_MINOR as f64);
            return Err(if is_power { too_large() } else { invalid() });
        }
        let (kept, rest) = fraction.split_at(fraction.len().min(decimals));
        if rest.bytes().any(|b| b != b'0') {
            return Err(invalid());
        }
        // Nothing but digits: what is no number has too many.
        let minor: i64 = format!("{whole}{kept:0<decimals$}").parse().map_err(|_| too_large())?;
        if minor > MAX_MINOR {
            return Err(too_large());
        }
        Ok(Self::new(if negative { -minor } else { minor }, currency))
    }

    /// An amount as people and their tools write it: `12,50`, `$1,299.50`, `1.299,50 EUR`, `CHF 1'299.50`.
    /// A sign or code must be the currency's own. What may mean two amounts is refused, unless `mark`
    /// says what its decimal mark is: a wrong guess would be a thousand times too much.
    pub fn read(text: &str, currency: Currency, mark: Option<DecimalMark>) -> Result<Self, Invalid> {
        let digit = |c: char| c.is_ascii_digit();
        let (Some(first), Some(last)) = (text.find(digit), text.rfind(digit)) else { return Self::parse(text, currency) };
        let (before, number, after) = (&text[..first], &text[first..=last], &text[last + 1..]);
        for words in [before, after] {
            let words = words.replace(['-', '\u{2212}'], "");
            let words = words.trim();
            if !words.is_empty() && !currency.is_written(words) {
                return Err(Invalid::new(format!("an amount in {currency}, the currency of the mapping, without {words:?}")));
            }
        }
        if after.contains(['-', '\u{2212}']) {
            return Self::parse(text, currency);
        }
        let sign = if before.contains(['-', '\u{2212}']) { "-" } else { "" };
        let (whole, fraction) = Self::halves(number, currency, mark)?;
        let whole = ungrouped(whole).ok_or_else(|| {
            Invalid::new(format!("a decimal amount like {}: {number:?} is not one, as its digits are grouped", Money::new(1250, currency).decimal()))
        })?;
        Self::parse(&if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }, currency)
    }

    /// What is before and after the decimal mark.
    fn halves(number: &str, currency: Currency, mark: Option<DecimalMark>) -> Result<(&str, &str), Invalid> {
        let split = |at: usize| (&number[..at], &number[at + 1..]);
        if let Some(mark) = mark {
            return Ok(number.split_once(mark.char()).unwrap_or((number, "")));
        }
        let Some(last) = number.rfind(['.', ',']) else { return Ok((number, "")) };
        let (whole, fraction) = split(last);
        if whole.contains(&number[last..=last]) {
            // Twice the same: no number has two decimal marks.
            return Ok((number, ""));
        }
        // Nothing else is between the digits, and what is before could be the first of two groups.
        let maybe_grouped = (1..=3).contains(&whole.len()) && whole.bytes().all(|b| b.is_ascii_digit()) && !whole.starts_with('0');
        if maybe_grouped && fraction.len() == 3 && currency.decimals() != 3 {
            return Err(Invalid::new(format!(
                "an amount that can be read in one way only: {number:?} may be {whole}{fraction} or {whole} and a fraction; set `decimal` of the mapping to \".\" or \",\", the decimal mark that the sender writes"
            )));
        }
        Ok((whole, fraction))
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

/// The digits without what is between their groups: a space, an apostrophe, a comma or a dot, always the same.
/// Groups are of three; in India those before the last are of two.
fn ungrouped(whole: &str) -> Option<String> {
    let is_space = |c: char| c.is_whitespace();
    let Some(separator) = whole.chars().find(|c| !c.is_ascii_digit()) else { return Some(whole.to_owned()) };
    if !is_space(separator) && !['.', ',', '\'', '\u{2019}'].contains(&separator) {
        return None;
    }
    let groups: Vec<&str> = whole.split(separator).collect();
    let (first, last) = (groups.first()?, groups.last()?);
    let inner = &groups[1..groups.len() - 1];
    let same = |len: usize| (1..=len).contains(&first.len()) && inner.iter().all(|group| group.len() == len);
    let sound = last.len() == 3 && (same(3) || same(2)) && !first.starts_with('0') && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_digit()));
    sound.then(|| groups.concat())
}

/// What is between the whole part of an amount and its fraction, where a sender's amounts could be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum DecimalMark {
    #[serde(rename = ".")]
    Point,
    #[serde(rename = ",")]
    Comma,
}

impl DecimalMark {
    const fn char(self) -> char {
        match self {
            DecimalMark::Point => '.',
            DecimalMark::Comma => ',',
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
impl ToSchema for Decimal {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyInput {
    amount_minor: Option<i64>,
    amount: Option<Decimal>,
    currency: Currency,
}

/// Joins the two ways to give an amount. Both may be given where they agree.
pub fn amount_from(amount_minor: Option<i64>, amount: Option<&Decimal>, currency: Currency) -> Result<Option<Money>, Invalid> {
    joined(amount_minor, amount.map(|decimal| Money::parse(&decimal.0, currency)).transpose()?, currency)
}

/// As [`amount_from`], where the decimal amount was read already.
pub fn joined(amount_minor: Option<i64>, amount: Option<Money>, currency: Currency) -> Result<Option<Money>, Invalid> {
    match (amount_minor, amount) {
        (Some(minor), Some(money)) if money.minor != minor => {
            Err(Invalid::new(format!("amount and amount_minor to agree, but {} is not {minor} minor units", money.decimal())))
        }
        (Some(minor), _) if minor.abs() > MAX_MINOR => Err(Invalid::new("an amount of at most 1,000,000,000,000 minor units")),
        (Some(minor), _) => Ok(Some(Money::new(minor, currency))),
        (None, amount) => Ok(amount),
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
impl ToSchema for Money {}

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
impl ToSchema for Percent {}

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
        for text in ["10000000000.01", "99999999999999999999", "-99999999999999999999.5", "1e20"] {
            assert!(Money::parse(text, currency("EUR")).unwrap_err().expected.starts_with("an amount of at most "), "{text}");
        }
    }

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, code, read) in [
            ("12,50", "EUR", "12.50"),
            ("12,5", "EUR", "12.50"),
            ("1.299,50", "EUR", "1299.50"),
            ("1,299.50", "EUR", "1299.50"),
            (" 1,299.50 EUR ", "EUR", "1299.50"),
            ("€ 1.299,50", "EUR", "1299.50"),
            ("$12.50", "USD", "12.50"),
            ("US$12.50", "USD", "12.50"),
            ("A$ 12.50", "AUD", "12.50"),
            ("$12.50 usd", "USD", "12.50"),
            ("$12.50 USD", "CAD", "!"),
            ("NT$1,299.50", "TWD", "1299.50"),
            ("1 299,50 kr", "SEK", "1299.50"),
            ("1\u{202f}299,50\u{a0}€", "EUR", "1299.50"),
            ("CHF 1'299.50", "CHF", "1299.50"),
            ("₹1,29,999.50", "INR", "129999.50"),
            ("1.299.500", "EUR", "1299500.00"),
            ("1.299,500", "EUR", "1299.50"),
            ("-€12,50", "EUR", "-12.50"),
            ("€ -12,50", "EUR", "-12.50"),
            ("46.0000", "EUR", "46.00"),
            // Nobody begins a group of thousands with a nought, or has four digits in one.
            ("0.500", "EUR", "0.50"),
            ("1299.500", "EUR", "1299.50"),
            ("1.299", "KWD", "1.299"),
            ("1,299", "KWD", "1.299"),
            ("1299", "JPY", "1299"),
            ("¥1,299,000", "JPY", "1299000"),
        ] {
            let found = Money::read(text, currency(code), None).map_or("!".to_owned(), |money| money.decimal());
            assert_eq!(found, read, "{text} {code}");
        }
        for (text, code) in [
            ("12,505", "EUR"),
            ("1.299", "EUR"),
            ("1,299", "JPY"),
            ("€1,299", "EUR"),
            ("12 50", "EUR"),
            ("1,29.50", "EUR"),
            ("1,299.505", "EUR"),
            ("1.2.3", "EUR"),
            ("1'299.500.000", "EUR"),
            ("12.50-", "EUR"),
            ("12,-", "EUR"),
            ("12.", "EUR"),
            (".50", "EUR"),
            ("much", "EUR"),
            ("", "EUR"),
            ("12 of 50", "EUR"),
            ("$12.50", "EUR"),
            ("12.50 USD", "EUR"),
            ("1e3", "EUR"),
        ] {
            assert!(Money::read(text, currency(code), None).is_err(), "{text} {code}");
        }
    }

    #[test]
    fn what_may_mean_two_amounts_is_settled_by_the_decimal_mark() {
        let why = Money::read("€1.299", currency("EUR"), None).unwrap_err().expected;
        assert!(why.contains("\"1.299\" may be 1299 or 1 and a fraction") && why.contains("set `decimal`"), "{why}");
        let read = |text, mark| Money::read(text, currency("EUR"), Some(mark)).map_or("!".to_owned(), |money| money.decimal());
        assert_eq!(read("€1.299", DecimalMark::Comma), "1299.00");
        assert_eq!(read("12.500", DecimalMark::Point), "12.50");
        assert_eq!(read("1,299", DecimalMark::Point), "1299.00");
        // A mark that is not the sender's is noticed rather than read as something else.
        assert_eq!(read("12,50", DecimalMark::Point), "!");
        assert_eq!(read("1.299,50", DecimalMark::Point), "!");
        assert_eq!(read("12.50", DecimalMark::Comma), "!");
        assert_eq!(Money::read("1,299", currency("JPY"), Some(DecimalMark::Point)).unwrap().minor, 1299);
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
        fn an_amount_is_read_in_every_custom_of_writing_it(
            minor in 0..=MAX_MINOR,
            code in prop::sample::select(vec!["EUR", "JPY", "KWD", "USD"]),
            (separator, mark) in prop::sample::select(vec![(",", DecimalMark::Point), (".", DecimalMark::Comma), (" ", DecimalMark::Comma), ("'", DecimalMark::Point), ("", DecimalMark::Comma)]),
            (before, after) in prop::sample::select(vec![("", ""), ("#", ""), ("", " #"), ("# ", "")]),
        ) {
            let money = Money::new(minor, currency(code));
            let decimal = money.decimal();
            let (whole, fraction) = decimal.split_once('.').unwrap_or((&decimal, ""));
            let groups: Vec<&str> = whole.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
            let fraction = if fraction.is_empty() { String::new() } else { format!("{}{fraction}", mark.char()) };
            let text = format!("{}{}{fraction}{}", before.replace('#', code), groups.join(separator), after.replace('#', code));
            prop_assert_eq!(Money::read(&text, money.currency, Some(mark)).unwrap(), money, "{}", text);
            // Without being told, it is the same amount or none, never another one.
            match Money::read(&text, money.currency, None) {
                Ok(read) => prop_assert!(read == money || (code == "KWD" && !text.contains(mark.char())), "{} is not {}", text, read),
                Err(_) => prop_assert!(code == "JPY" && groups.len() == 2, "{}", text),
            }
        }

        #[test]
        fn whatever_is_written_is_read_as_one_amount_or_refused(text in "[-€$ 0-9.,']{0,14}", code in prop::sample::select(vec!["EUR", "JPY", "KWD"])) {
            let currency = currency(code);
            let told = [None, Some(DecimalMark::Point), Some(DecimalMark::Comma)].map(|mark| Money::read(&text, currency, mark).ok());
            // What is read unasked is what one of the marks says, with every digit that was there.
            if let [Some(read), point, comma] = told {
                prop_assert!(point == Some(read) || comma == Some(read), "{}", text);
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                let value: String = read.decimal().chars().filter(char::is_ascii_digit).collect();
                prop_assert_eq!(digits.trim_matches('0'), value.trim_matches('0'), "{}", text);
            }
            // What the API takes means the same here, where it can be read at all.
            if let (Ok(strict), [Some(read), ..]) = (Money::parse(&text, currency), told) {
                prop_assert_eq!(strict, read);
            }
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
