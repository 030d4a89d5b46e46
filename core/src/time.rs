//! Instants: UTC, in milliseconds.

use crate::Invalid;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Milliseconds since 1970-01-01T00:00:00Z; outside, RFC 3339 in UTC with
/// milliseconds (`2026-11-20T13:45:00.000Z`). Years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

const MAX_MS: i64 = 253_402_300_799_999; // 9999-12-31T23:59:59.999Z

impl Timestamp {
    pub const fn from_ms(ms: i64) -> Self {
        Self(if ms < 0 {
            0
        } else if ms > MAX_MS {
            MAX_MS
        } else {
            ms
        })
    }

    pub const fn ms(self) -> i64 {
        self.0
    }

    pub const fn plus_ms(self, ms: i64) -> Self {
        Self::from_ms(self.0.saturating_add(ms))
    }

    pub const fn plus_days(self, days: u32) -> Self {
        self.plus_ms(days as i64 * DAY_MS)
    }

    /// The same day of the month so many months later; the last day where the
    /// month is shorter.
    pub fn plus_months(self, months: u32) -> Self {
        let later = self.zoned().checked_add(jiff::Span::new().months(i64::from(months.min(1_200))));
        later.map_or(Self(MAX_MS), |zoned| Self::from_ms(zoned.timestamp().as_millisecond()))
    }

    /// When something happened, as somebody says at `now`. Clocks differ and a date has no time zone, so that a day
    /// ahead passes; more is a slip.
    pub fn happened_by(self, now: Self) -> Result<Self, Invalid> {
        if self > now.plus_ms(DAY_MS) { Err(Invalid::new("a time that is not more than a day in the future")) } else { Ok(self) }
    }

    /// Whole days since 1970, in UTC.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// The first instant of the calendar period (UTC) that holds this one.
    pub fn start_of(self, period: Period) -> Self {
        let date = self.zoned().date();
        let start = match period {
            Period::Day => date,
            Period::Week => {
                let back = i64::from(date.weekday().to_monday_zero_offset());
                date.saturating_sub(jiff::Span::new().days(back))
            }
            Period::Month => date.first_of_month(),
            Period::Year => date.first_of_year(),
            Period::Ever => return Self(0),
        };
        start.to_zoned(jiff::tz::TimeZone::UTC).map_or(self, |zoned| Self::from_ms(zoned.timestamp().as_millisecond()))
    }

    /// `2026-11-20`, in UTC.
    pub fn date(self) -> String {
        self.zoned().date().to_string()
    }

    fn zoned(self) -> jiff::Zoned {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(jiff::tz::TimeZone::UTC)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.zoned().datetime();
        write!(f, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", at.year(), at.month(), at.day(), at.hour(), at.minute(), at.second(), at.millisecond())
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    /// RFC 3339 with any offset, or a plain date, which means its first instant in UTC.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("a time like 2026-11-20T13:45:00Z (RFC 3339), or a date like 2026-11-20");
        let ms = match text.parse::<jiff::Timestamp>() {
            Ok(at) => at.as_millisecond(),
            Err(_) => {
                let date = text.parse::<jiff::civil::Date>().map_err(|_| invalid())?;
                if text.len() != 10 {
                    return Err(invalid());
                }
                date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| invalid())?.timestamp().as_millisecond()
            }
        };
        if (0..=MAX_MS).contains(&ms) { Ok(Self(ms)) } else { Err(Invalid::new("a time between 1970 and 9999")) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples([serde_json::json!("2026-11-20T13:45:00.000Z")])
            .into()
    }
}
impl utoipa::ToSchema for Timestamp {}

/// A calendar period in UTC; weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    Week,
    Month,
    Year,
    /// No period: since the beginning.
    Ever,
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Period::Day => "a day",
            Period::Week => "a week",
            Period::Month => "a month",
            Period::Year => "a year",
            Period::Ever => "in all",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_read_with_any_offset_and_written_in_utc() {
        assert_eq!(at("2026-11-20T14:45:00+01:00").to_string(), "2026-11-20T13:45:00.000Z");
        assert_eq!(at("2026-11-20").to_string(), "2026-11-20T00:00:00.000Z");
        for text in ["", "yesterday", "2026-13-01", "1969-12-31T23:59:59Z", "2026-11-20T13:45:00"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn periods_begin_where_the_calendar_says() {
        let t = at("2026-11-20T13:45:00Z"); // a Friday
        assert_eq!(t.start_of(Period::Week), at("2026-11-16"));
        assert_eq!(t.start_of(Period::Month), at("2026-11-01"));
        assert_eq!(t.start_of(Period::Year), at("2026-01-01"));
        assert_eq!(t.start_of(Period::Ever).ms(), 0);
        assert_eq!(at("2026-01-31").plus_months(1), at("2026-02-28"));
    }
}
