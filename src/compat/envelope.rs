//! Lists: `data`, `links` and `meta`, pages, filters, orders, `select` and `with` (section 2.2).
//!
//! The names of filter operators and of the order are not documented; what stands here is what Laravel
//! packages of that shape take: `filters[n][field|operator|value|type]`, `sort[n][field|direction]`,
//! `search[value]`.

use super::{
    ask::{self, Ask, Input, items, scalar},
    refusal::{Answer, Refusal},
};
use crate::engine::paged::{Column, Compare, Filter, Paged, Term};
use serde_json::{Map, Value, json};

const PER_PAGE: i64 = 25;
const PER_PAGE_MAX: i64 = 250;
/// How many conditions one call may have.
const TERMS_MAX: usize = 50;

/// How unknown filters and parameters are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Version 2: what is not known is refused, and `campaign_id=7` filters.
    Strict,
    /// Version 1: what is not known is ignored, plain `campaign_id=7` included, as measured.
    Lenient,
}

/// What a list was asked for.
pub struct Listing {
    pub filter: Filter,
    pub page: i64,
    pub per_page: i64,
    pub with: Vec<String>,
    select: Vec<String>,
}

/// Names that mean something else than a column.
const PARAMETERS: [&str; 12] = ["page", "per_page", "with", "include", "select", "fields", "filters", "sort", "order", "direction", "search", "scopes"];
/// Names under which a search text may stand: which one is not documented.
const SEARCH: [&str; 6] = ["search", "query", "q", "keyword", "string", "term"];

impl Listing {
    pub fn read(input: &Input, columns: &'static [Column], mode: Mode) -> Result<Self, Refusal> {
        let strict = mode == Mode::Strict;
        let mut terms = Vec::new();
        let mut errors = Vec::new();
        for (i, item) in input.list("filters").iter().enumerate() {
            match term(item, columns) {
                Ok(term) => terms.push(term),
                Err(_) if !strict => {}
                Err(message) => errors.push((format!("filters.{i}"), message)),
            }
        }
        if strict {
            for (name, value) in &input.0 {
                if PARAMETERS.contains(&name.as_str()) || SEARCH.contains(&name.as_str()) {
                    continue;
                }
                match columns.iter().find(|column| column.name == name) {
                    Some(column) => terms.push(Term { column, compare: Compare::Is, values: vec![text_of(value)], or: false }),
                    None => errors.push((name.clone(), format!("There is no parameter or filter {name}. {}", names(columns)))),
                }
            }
        }
        if terms.len() > TERMS_MAX {
            errors.push(("filters".into(), format!("There are more than {TERMS_MAX} filters.")));
        }
        let mut number = |name: &str, default: i64, max: i64| match input.text(name) {
            None => default,
            Some(text) => match text.parse::<i64>() {
                Ok(n) if (1..=max).contains(&n) => n,
                // Version 1 took what it could.
                Ok(n) if !strict => n.clamp(1, max),
                Err(_) if !strict => default,
                _ => {
                    errors.push((name.to_owned(), format!("The {} must be between 1 and {max}.", name.replace('_', " "))));
                    default
                }
            },
        };
        let (per_page, page) = (number("per_page", PER_PAGE, PER_PAGE_MAX), number("page", 1, i64::from(u32::MAX)));
        let (order, descending) = order(input, columns, strict, &mut errors);
        if !errors.is_empty() {
            return Err(Refusal::fields(errors));
        }
        let search = SEARCH.iter().find_map(|name| match input.get(name)? {
            Value::Object(members) => members.get("value").and_then(scalar),
            other => scalar(other),
        });
        let filter = Filter { terms, search: search.filter(|text| !text.is_empty()), order, descending, offset: (page - 1) * per_page, limit: per_page };
        let mut with = input.words("with");
        with.extend(input.words("include"));
        let mut select = input.words("select");
        select.extend(input.words("fields"));
        Ok(Self { filter, page, per_page, with, select })
    }

    /// Whether a relation was asked for: `user.analytics`, or all of them.
    pub fn has(&self, relation: &str) -> bool {
        wants(&self.with, relation)
    }

    /// The answer with its links.
    pub fn answer<S, T>(&self, ask: &Ask<S>, page: &Paged<T>, data: Vec<Value>) -> Answer {
        let last = ((page.total + self.per_page - 1) / self.per_page).max(1);
        let path = format!("{}{}", ask.app.engine.shared().public_url, ask.uri.path());
        let link = |n: i64| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            for (name, value) in form_urlencoded::parse(ask.uri.query().unwrap_or_default().as_bytes()).filter(|(name, _)| name != "page") {
                query.append_pair(&name, &value);
            }
            Value::String(format!("{path}?{}", query.append_pair("page", &n.to_string()).finish()))
        };
        let from = self.filter.offset + 1;
        let count = data.len() as i64;
        ask::ok(&json!({
            "data": data.into_iter().map(|row| select(row, &self.select)).collect::<Vec<_>>(),
            "links": {
                "first": link(1),
                "last": link(last),
                "prev": if self.page > 1 { link(self.page - 1) } else { Value::Null },
                "next": if self.page < last { link(self.page + 1) } else { Value::Null },
            },
            "meta": {
                "current_page": self.page,
                "from": if count > 0 { json!(from) } else { Value::Null },
                "last_page": last,
                "path": path,
                "per_page": self.per_page,
                "to": if count > 0 { json!(from + count - 1) } else { Value::Null },
                "total": page.total,
            },
        }))
    }
}

pub fn wants(with: &[String], relation: &str) -> bool {
    with.iter().any(|word| word == "all" || word == relation)
}

/// The members that were asked for; all of them where none was.
pub fn select(row: Value, names: &[String]) -> Value {
    match row {
        Value::Object(members) if !names.is_empty() => Value::Object(members.into_iter().filter(|(name, _)| names.contains(name)).collect::<Map<_, _>>()),
        row => row,
    }
}

fn names(columns: &[Column]) -> String {
    format!("The filters are {}.", columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", "))
}

/// `null` and `""` stand for what is not there.
fn text_of(value: &Value) -> Option<String> {
    scalar(value).filter(|text| !text.is_empty() && text != "null")
}

fn term(item: &Value, columns: &'static [Column]) -> Result<Term, String> {
    let member = |name: &str| item.get(name).and_then(scalar);
    let field = member("field").ok_or("A filter has a field and a value.")?;
    let column = columns.iter().find(|column| column.name == field).ok_or_else(|| format!("There is no filter {field}. {}", names(columns)))?;
    let operator = member("operator").unwrap_or_else(|| "=".to_owned()).to_lowercase();
    let value = item.get("value").cloned().unwrap_or(Value::Null);
    let compare = match operator.as_str() {
        "=" | "==" | "eq" if value.is_array() => Compare::In,
        "=" | "==" | "eq" => Compare::Is,
        "!=" | "<>" | "ne" => Compare::IsNot,
        "<" | "lt" => Compare::Less,
        "<=" | "lte" => Compare::AtMost,
        ">" | "gt" => Compare::Greater,
        ">=" | "gte" => Compare::AtLeast,
        "like" | "ilike" | "contains" => Compare::Like,
        "in" => Compare::In,
        "not in" | "not_in" | "nin" => Compare::NotIn,
        other => return Err(format!("There is no operator {other}. The operators are =, !=, <, <=, >, >=, like, in and not in.")),
    };
    let values = match compare {
        Compare::In | Compare::NotIn => match &value {
            Value::String(text) => text.split(',').map(|item| text_of(&item.trim().into())).collect(),
            other => items(other).iter().map(text_of).collect(),
        },
        _ => vec![text_of(&value)],
    };
    if values.len() > TERMS_MAX {
        return Err(format!("A filter has at most {TERMS_MAX} values."));
    }
    Ok(Term { column, compare, values, or: member("type").is_some_and(|word| word.eq_ignore_ascii_case("or")) })
}

/// `sort[0][field]=…&sort[0][direction]=desc`, `sort=-signed_up_at`, `order=signed_up_at&direction=desc`.
fn order(input: &Input, columns: &'static [Column], strict: bool, errors: &mut Vec<(String, String)>) -> (Option<&'static Column>, bool) {
    let mut direction = input.text("direction");
    let asked = input.list("sort").into_iter().next().or_else(|| input.get("order").cloned());
    let name = match &asked {
        Some(Value::Object(members)) => {
            direction = members.get("direction").and_then(scalar).or(direction);
            members.get("field").and_then(scalar)
        }
        Some(other) => scalar(other),
        None => None,
    };
    let mut descending = direction.is_some_and(|word| word.eq_ignore_ascii_case("desc"));
    let Some(name) = name else { return (None, descending) };
    let name = match name.strip_prefix('-') {
        Some(name) => {
            descending = true;
            name.to_owned()
        }
        None => name,
    };
    if name.eq_ignore_ascii_case("asc") || name.eq_ignore_ascii_case("desc") {
        return (None, name.eq_ignore_ascii_case("desc"));
    }
    let column = columns.iter().find(|column| column.name == name);
    if column.is_none() && strict {
        errors.push(("sort".into(), format!("There is no field {name} to sort by. {}", names(columns).replace("filters", "fields"))));
    }
    (column, descending)
}
