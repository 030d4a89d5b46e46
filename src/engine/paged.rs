//! Lists by page number, for interfaces that count pages: filters over named columns, a total, an order.

use super::{
    Error, Result, Shared, Space,
    campaign::{self, Campaign},
    number::{self, Numbered},
    participant::Participant,
    reward::RewardRow,
};
use goodword_core::{
    text::{Code, Email},
    time::{DAY_MS, Timestamp},
};
use goodword_store::{self as store, Arg, Row, Tx, Value};
use uuid::Uuid;

/// Something that a list can be filtered and ordered by.
#[derive(Debug)]
pub struct Column {
    /// How the interface calls it.
    pub name: &'static str,
    /// What it is in SQL.
    sql: &'static str,
    kind: Kind,
}

/// How a text is compared with a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Without regard to case.
    Text,
    Number,
    /// A yes or no, in SQL 1 or 0.
    Flag,
    /// A time, named by its day or exactly.
    Time,
    Email,
    Code,
    /// An id, named by a number.
    Participant,
    Campaign,
    Definition,
}

macro_rules! columns {
    ($($name:ident $kind:ident)*) => {$(
        pub const fn $name(name: &'static str, sql: &'static str) -> Self { Self { name, sql, kind: Kind::$kind } }
    )*};
}

impl Column {
    columns! { text Text number Number flag Flag time Time email Email code Code participant Participant campaign Campaign definition Definition }

    /// Whether it says something to go by it.
    fn orders(&self) -> bool {
        !matches!(self.kind, Kind::Participant | Kind::Campaign | Kind::Definition)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Is,
    IsNot,
    Less,
    AtMost,
    Greater,
    AtLeast,
    /// Contains, or a pattern with `%`.
    Like,
    In,
    NotIn,
}

/// One condition.
#[derive(Debug, Clone)]
pub struct Term {
    pub column: &'static Column,
    pub compare: Compare,
    /// One value; several for `In`. `None` is what is not there.
    pub values: Vec<Option<String>>,
    /// Joined to what stands before by OR instead of AND.
    pub or: bool,
}

/// Which part of a list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub terms: Vec<Term>,
    /// Part of a text, in any of the list's texts.
    pub search: Option<String>,
    /// In order of the numbers where absent.
    pub order: Option<&'static Column>,
    pub descending: bool,
    pub offset: i64,
    pub limit: i64,
}

/// A page, and how many there are in all.
#[derive(Debug)]
pub struct Paged<T> {
    pub rows: Vec<T>,
    pub total: i64,
}

/// People without those whose data was erased, oldest first.
pub async fn people(tx: &mut Tx<'_>, space: Space, filter: &Filter) -> Result<Paged<Participant>> {
    let table = Table {
        name: "participants",
        select: super::participant::SELECT,
        always: "identity NOT LIKE 'erased-%@invalid'",
        searched: &["first_name", "last_name", "email", "code"],
        read: Participant::read,
    };
    table.page(tx, space, filter).await
}

pub async fn campaigns(tx: &mut Tx<'_>, shared: &Shared, space: Space, filter: &Filter) -> Result<Paged<Campaign>> {
    let table = Table {
        name: "campaigns",
        select: "SELECT id FROM campaigns",
        always: "deleted_at IS NULL",
        searched: &["name", "code"],
        read: |row| row.get::<Uuid>(0),
    };
    let page = table.page(tx, space, filter).await?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for id in page.rows {
        rows.push(campaign::get(tx, shared, space, goodword_core::ids::CampaignId::from_uuid(id)).await?);
    }
    Ok(Paged { rows, total: page.total })
}

/// Rewards of one kind (`fixed`, `commission`, …) in some states.
pub async fn rewards(tx: &mut Tx<'_>, space: Space, of: &'static str, filter: &Filter) -> Result<Paged<RewardRow>> {
    let table = Table { name: "rewards", select: super::reward::SELECT, always: of, searched: &["coupon", "note"], read: RewardRow::read };
    table.page(tx, space, filter).await
}

/// A coupon that nobody has been given yet.
#[derive(Debug)]
pub struct FreeCoupon {
    pub number: i64,
    pub definition: goodword_core::ids::RewardDefinitionId,
    pub code: String,
}

pub async fn free_coupons(tx: &mut Tx<'_>, space: Space, filter: &Filter) -> Result<Paged<FreeCoupon>> {
    let table = Table {
        name: "coupons",
        select: "SELECT no, definition_id, code FROM coupons",
        always: "reward_id IS NULL",
        searched: &["code"],
        read: |row| Ok(FreeCoupon { number: row.get(0)?, definition: goodword_core::ids::RewardDefinitionId::from_uuid(row.get(1)?), code: row.get(2)? }),
    };
    table.page(tx, space, filter).await
}

struct Table<T> {
    name: &'static str,
    select: &'static str,
    /// A condition on all rows.
    always: &'static str,
    searched: &'static [&'static str],
    read: fn(&Row<'_>) -> store::Result<T>,
}

impl<T> Table<T> {
    async fn page(&self, tx: &mut Tx<'_>, space: Space, filter: &Filter) -> Result<Paged<T>> {
        let mut condition = Condition { sql: format!("space = $1 AND {}", self.always), args: vec![Value::Int(space.number())] };
        if let Some(text) = &filter.search {
            let place = condition.place(Value::Text(pattern(text)));
            let any = self.searched.iter().map(|column| format!("lower({column}) LIKE {place} ESCAPE '\\'")).collect::<Vec<_>>().join(" OR ");
            condition.sql.push_str(&format!(" AND ({any})"));
        }
        for (i, term) in filter.terms.iter().enumerate() {
            condition.sql.push_str(match (i, term.or) {
                (0, _) => " AND (",
                (_, false) => " AND ",
                (_, true) => " OR ",
            });
            let text = condition.term(tx, space, term).await?;
            condition.sql.push_str(&text);
        }
        if !filter.terms.is_empty() {
            condition.sql.push(')');
        }
        let args: Vec<Arg<'_>> = condition.args.iter().map(Value::as_arg).collect();
        let count = format!("SELECT count(*) FROM {} WHERE {}", self.name, condition.sql);
        let total = tx.fetch_one(&count, &args, |row| row.get::<i64>(0)).await?.unwrap_or_default();
        let direction = if filter.descending { "DESC" } else { "ASC" };
        let order = match filter.order {
            Some(column) if column.orders() => format!("{} {direction}, no {direction}", column.sql),
            _ => format!("no {direction}"),
        };
        let (limit, offset) = (condition.place(Value::Int(filter.limit)), condition.place(Value::Int(filter.offset)));
        let sql = format!("{} WHERE {} ORDER BY {order} LIMIT {limit} OFFSET {offset}", self.select, condition.sql);
        let args: Vec<Arg<'_>> = condition.args.iter().map(Value::as_arg).collect();
        Ok(Paged { rows: tx.fetch(&sql, &args, self.read).await?, total })
    }
}

/// A pattern that finds the text anywhere.
fn pattern(text: &str) -> String {
    let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

struct Condition {
    sql: String,
    args: Vec<Value>,
}

impl Condition {
    /// The place of an argument in the statement.
    fn place(&mut self, value: Value) -> String {
        self.args.push(value);
        format!("${}", self.args.len())
    }

    async fn term(&mut self, tx: &mut Tx<'_>, space: Space, term: &Term) -> Result<String> {
        let column = term.column;
        if matches!(term.compare, Compare::In | Compare::NotIn) {
            let mut any = Vec::with_capacity(term.values.len());
            for value in &term.values {
                any.push(self.compare(tx, space, column, Compare::Is, value.as_deref()).await?);
            }
            let any = if any.is_empty() { "FALSE".to_owned() } else { any.join(" OR ") };
            return Ok(if term.compare == Compare::In { format!("({any})") } else { format!("NOT ({any})") });
        }
        let value = term.values.first().and_then(Option::as_deref);
        self.compare(tx, space, column, term.compare, value).await
    }

    async fn compare(&mut self, tx: &mut Tx<'_>, space: Space, column: &Column, compare: Compare, value: Option<&str>) -> Result<String> {
        let sql = column.sql;
        let Some(text) = value else {
            return match compare {
                Compare::Is => Ok(format!("{sql} IS NULL")),
                Compare::IsNot => Ok(format!("{sql} IS NOT NULL")),
                _ => Err(expected(column, "a value")),
            };
        };
        if compare == Compare::Like {
            let place = self.place(Value::Text(if text.contains('%') { text.to_lowercase() } else { pattern(text) }));
            return match column.kind {
                Kind::Text | Kind::Email | Kind::Code => Ok(format!("lower({sql}) LIKE {place} ESCAPE '\\'")),
                _ => Err(expected(column, "=, because it is not a text")),
            };
        }
        let operator = match compare {
            Compare::IsNot => "<>",
            Compare::Less => "<",
            Compare::AtMost => "<=",
            Compare::Greater => ">",
            Compare::AtLeast => ">=",
            _ => "=",
        };
        let negation = match compare {
            Compare::Is => "",
            Compare::IsNot => "NOT ",
            _ if matches!(column.kind, Kind::Text | Kind::Number | Kind::Time) => "",
            _ => return Err(expected(column, "= or !=")),
        };
        match column.kind {
            Kind::Text => {
                let place = self.place(Value::Text(text.to_lowercase()));
                Ok(format!("coalesce(lower({sql}), '') {operator} {place}"))
            }
            Kind::Number => {
                let n = text.trim().parse::<i64>().map_err(|_| expected(column, "a whole number"))?;
                let place = self.place(Value::Int(n));
                Ok(format!("{sql} {operator} {place}"))
            }
            Kind::Flag => {
                let n = match text {
                    "1" | "true" => 1,
                    "0" | "false" => 0,
                    _ => return Err(expected(column, "true or false")),
                };
                let place = self.place(Value::Int(n));
                Ok(format!("{sql} {operator} {place}"))
            }
            Kind::Time => {
                let at: Timestamp = text.trim().parse().map_err(|_| expected(column, "a date like 2026-11-20"))?;
                // A day is as long as it is: its end is what "after" and "until" go by.
                let end = if text.trim().len() == 10 { at.plus_ms(DAY_MS) } else { at.plus_ms(1) };
                match compare {
                    Compare::Less => Ok(format!("{sql} < {}", self.place(Value::Int(at.ms())))),
                    Compare::AtMost => Ok(format!("{sql} < {}", self.place(Value::Int(end.ms())))),
                    Compare::Greater => Ok(format!("{sql} >= {}", self.place(Value::Int(end.ms())))),
                    Compare::AtLeast => Ok(format!("{sql} >= {}", self.place(Value::Int(at.ms())))),
                    _ => {
                        let (from, to) = (self.place(Value::Int(at.ms())), self.place(Value::Int(end.ms())));
                        Ok(format!("{negation}({sql} IS NOT NULL AND {sql} >= {from} AND {sql} < {to})"))
                    }
                }
            }
            Kind::Email => {
                let Ok(email) = text.parse::<Email>() else { return Ok(format!("{negation}(FALSE)")) };
                // By the index of identities first, then by what was written.
                let (mailbox, address) = (self.place(Value::Text(email.mailbox_key())), self.place(Value::Text(email.address_key())));
                Ok(format!("{negation}(identity IN ({mailbox}, {address}) AND lower({sql}) = {address})"))
            }
            Kind::Code => {
                let key = text.parse::<Code>().map(|code| code.key()).unwrap_or_default();
                let place = self.place(Value::Text(key));
                Ok(format!("{negation}(id IN (SELECT participant_id FROM codes WHERE code_key = {place} AND participant_id IS NOT NULL))"))
            }
            Kind::Participant | Kind::Campaign | Kind::Definition => {
                let n = text.trim().parse::<i64>().map_err(|_| expected(column, "a whole number"))?;
                let id = match column.kind {
                    Kind::Participant => number::find(tx, space, Numbered::Participant, n).await?,
                    Kind::Campaign => number::find(tx, space, Numbered::Campaign, n).await?,
                    _ => number::definition(tx, space, n).await?.map(|(id, _)| id.uuid()),
                };
                let place = self.place(Value::Id(id.unwrap_or(Uuid::nil())));
                Ok(format!("{negation}({sql} IS NOT NULL AND {sql} = {place})"))
            }
        }
    }
}

fn expected(column: &Column, expected: &str) -> Error {
    Error::Invalid { field: column.name.to_owned(), expected: expected.to_owned() }
}
