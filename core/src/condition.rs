//! Conditions over a conversion's properties, in CEL (the Common Expression
//! Language, <https://cel.dev>), by the `cel` crate.
//!
//! The crate has no execution budget, so the source, its depth and the size of the
//! properties are bounded, and a condition is never evaluated while a database
//! transaction is open.

use crate::Invalid;
use cel::{Context, Program, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, sync::Arc};

const SOURCE_LEN_MAX: usize = 1_000;
const NESTING_MAX: usize = 20;
/// Comprehensions multiply; two of them over the largest list stay cheap.
const COMPREHENSIONS_MAX: usize = 2;

/// A condition that compiles. Its variables: `properties` (what was sent with the
/// conversion), `kind`, `amount_minor` (0 where there is none), `currency` and `source`.
#[derive(Clone)]
pub struct Condition {
    source: String,
    program: Arc<Program>,
}

/// What a condition is asked about.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub kind: &'a str,
    pub amount_minor: i64,
    pub currency: &'a str,
    pub source: &'a str,
    pub properties: &'a serde_json::Value,
}

/// What came out of a condition. It travels with the signal, for evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    True,
    False,
    /// It could not be evaluated: a property is missing or has another type.
    Error(String),
}

impl Condition {
    pub fn parse(source: &str) -> Result<Self, Invalid> {
        let source = source.trim();
        if source.is_empty() || source.len() > SOURCE_LEN_MAX {
            return Err(Invalid::new(format!("a CEL condition of at most {SOURCE_LEN_MAX} characters, like properties.plan == \"pro\"")));
        }
        if nesting(source) > NESTING_MAX {
            return Err(Invalid::new(format!("a CEL condition with at most {NESTING_MAX} nested brackets")));
        }
        let comprehensions = [".all(", ".exists(", ".exists_one(", ".map(", ".filter("].iter().map(|word| source.matches(word).count()).sum::<usize>();
        if comprehensions > COMPREHENSIONS_MAX {
            return Err(Invalid::new(format!("a CEL condition with at most {COMPREHENSIONS_MAX} list macros")));
        }
        let program = Program::compile(source).map_err(|error| Invalid::new(format!("a CEL condition, but this does not compile: {error}")))?;
        let known = ["properties", "kind", "amount_minor", "currency", "source"];
        if comprehensions == 0
            && let Some(unknown) = program.references().variables().into_iter().find(|name| !known.contains(name))
        {
            return Err(Invalid::new(format!("a CEL condition over properties, kind, amount_minor, currency and source; there is no variable {unknown}")));
        }
        Ok(Self { source: source.to_owned(), program: Arc::new(program) })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn evaluate(&self, subject: &Subject<'_>) -> Verdict {
        let mut context = Context::default();
        context.add_variable_from_value("kind", subject.kind);
        context.add_variable_from_value("amount_minor", subject.amount_minor);
        context.add_variable_from_value("currency", subject.currency);
        context.add_variable_from_value("source", subject.source);
        if let Err(error) = context.add_variable("properties", subject.properties) {
            return Verdict::Error(error.to_string());
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(true)) => Verdict::True,
            Ok(Value::Bool(false)) => Verdict::False,
            Ok(other) => Verdict::Error(format!("the condition gave {other:?}, not true or false")),
            Err(error) => Verdict::Error(error.to_string()),
        }
    }
}

fn nesting(source: &str) -> usize {
    let mut depth = 0usize;
    let mut deepest = 0;
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}
impl Eq for Condition {}
impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.source)
    }
}
impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}
impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<'de, str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
impl utoipa::PartialSchema for Condition {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::String)
            .description(Some("A CEL expression over properties, kind, amount_minor, currency and source that is true or false"))
            .max_length(Some(SOURCE_LEN_MAX))
            .examples([serde_json::json!("properties.plan == \"pro\" && amount_minor >= 5000")])
            .into()
    }
}
impl utoipa::ToSchema for Condition {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(source: &str, properties: serde_json::Value) -> Verdict {
        Condition::parse(source).unwrap().evaluate(&Subject { kind: "order", amount_minor: 5_000, currency: "EUR", source: "api", properties: &properties })
    }

    #[test]
    fn conditions_say_true_false_or_why_not() {
        assert_eq!(ask(r#"properties.plan == "pro""#, json!({"plan": "pro"})), Verdict::True);
        assert_eq!(ask(r#"kind == "order" && amount_minor > 6000"#, json!({})), Verdict::False);
        assert_eq!(ask(r#"properties.items.exists(i, i.sku == "A1")"#, json!({"items": [{"sku": "A1"}]})), Verdict::True);
        assert!(matches!(ask(r#"properties.plan == "pro""#, json!({})), Verdict::Error(_)));
        assert_eq!(ask(r#"has(properties.plan) && properties.plan == "pro""#, json!({})), Verdict::False);
        assert!(matches!(ask("amount_minor", json!({})), Verdict::Error(_)));
    }

    #[test]
    fn what_cannot_be_a_condition_is_refused_when_it_is_saved() {
        for source in ["", "properties.plan ==", "plan == 1", &"(".repeat(30), &"1+".repeat(600), "[1].map(x,x).map(x,x).map(x,x) == [1]"] {
            assert!(Condition::parse(source).is_err(), "{source}");
        }
    }
}
