//! Lists: filters, a stable order, and cursors that point between rows.

use super::{Error, Result, Space};
use goodword_core::time::Timestamp;
use goodword_store::{Arg, Row, Tx, Value};
use uuid::Uuid;

/// Which part of a list is asked for.
#[derive(Debug, Clone)]
pub struct Page {
    pub limit: usize,
    pub after: Option<Cursor>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    pub created_after: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
}

pub const LIMIT_DEFAULT: usize = 25;
pub const LIMIT_MAX: usize = 250;

impl Default for Page {
    fn default() -> Self {
        Self { limit: LIMIT_DEFAULT, after: None, ascending: false, created_after: None, created_before: None }
    }
}

/// The last row that was shown: what it is ordered by, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub order: i64,
    pub id: Uuid,
}

impl Cursor {
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid { field: "cursor".into(), expected: "the next_cursor of an earlier answer".into() };
        let (order, id) = text.split_once('-').ok_or_else(invalid)?;
        let order = i64::from_str_radix(order, 36).map_err(|_| invalid())?;
        let id = u128::from_str_radix(id, 16).map_err(|_| invalid())?;
        Ok(Self { order, id: Uuid::from_u128(id) })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut rest = self.order.max(0) as u64;
        let mut text = Vec::new();
        loop {
            text.push(DIGITS[(rest % 36) as usize]);
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        text.reverse();
        write!(f, "{}-{:x}", String::from_utf8_lossy(&text), self.id.as_u128())
    }
}

/// Rows, and the cursor for the rows after them where there are more.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    pub data: Vec<T>,
    pub next: Option<Cursor>,
}

impl<T> Listing<T> {
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Listing<U> {
        Listing { data: self.data.into_iter().map(f).collect(), next: self.next }
    }

    pub fn try_map<U, E>(self, f: impl FnMut(T) -> Result<U, E>) -> Result<Listing<U>, E> {
        Ok(Listing { data: self.data.into_iter().map(f).collect::<Result<_, E>>()?, next: self.next })
    }
}

/// A SELECT that grows by conditions; values only ever travel as arguments.
pub struct Query {
    sql: String,
    args: Vec<Value>,
}

impl Query {
    pub fn new(select: &str, space: Space) -> Self {
        Self { sql: format!("{select} WHERE space = $1"), args: vec![Value::Int(space.number())] }
    }

    /// A condition without a value.
    pub fn and(&mut self, condition: &str) -> &mut Self {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self
    }

    fn and_value(&mut self, condition: &str, value: Value) -> &mut Self {
        self.args.push(value);
        self.and(&format!("{condition} ${}", self.args.len()))
    }

    pub fn and_text(&mut self, condition: &str, value: &str) -> &mut Self {
        self.and_value(condition, Value::Text(value.to_owned()))
    }

    pub fn and_int(&mut self, condition: &str, value: i64) -> &mut Self {
        self.and_value(condition, Value::Int(value))
    }

    pub fn and_id(&mut self, condition: &str, value: Uuid) -> &mut Self {
        self.and_value(condition, Value::Id(value))
    }

    /// A condition in which the value stands for each `$?`.
    pub fn and_about(&mut self, condition: &str, value: Uuid) -> &mut Self {
        self.args.push(Value::Id(value));
        self.and(&condition.replace("$?", &format!("${}", self.args.len())))
    }

    /// One of the columns holds the text, without regard to case.
    pub fn and_contains(&mut self, columns: &[&str], text: &str) -> &mut Self {
        let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        self.args.push(Value::Text(format!("%{escaped}%")));
        let n = self.args.len();
        let any = columns.iter().map(|column| format!("lower({column}) LIKE ${n} ESCAPE '\\'")).collect::<Vec<_>>().join(" OR ");
        self.and(&format!("({any})"))
    }

    /// One page in the order of a time column and the id.
    pub async fn page<T>(
        mut self,
        tx: &mut Tx<'_>,
        page: &Page,
        order_by: &str,
        read: impl Fn(&Row<'_>) -> goodword_store::Result<T>,
        position: impl Fn(&T) -> (i64, Uuid),
    ) -> Result<Listing<T>> {
        if let Some(after) = page.created_after {
            self.and_int(&format!("{order_by} >"), after.ms());
        }
        if let Some(before) = page.created_before {
            self.and_int(&format!("{order_by} <"), before.ms());
        }
        let (compare, direction) = if page.ascending { (">", "ASC") } else { ("<", "DESC") };
        if let Some(cursor) = page.after {
            self.args.push(Value::Int(cursor.order));
            self.args.push(Value::Id(cursor.id));
            let n = self.args.len();
            self.and(&format!("({order_by}, id) {compare} (${}, ${n})", n - 1));
        }
        self.args.push(Value::Int(page.limit as i64 + 1));
        self.sql.push_str(&format!(" ORDER BY {order_by} {direction}, id {direction} LIMIT ${}", self.args.len()));
        self.run(tx, page.limit, read, |row| {
            let (order, id) = position(row);
            Cursor { order, id }
        })
        .await
    }

    /// One page in the order of a number that is unique within the filter.
    pub async fn page_by_number<T>(
        mut self,
        tx: &mut Tx<'_>,
        page: &Page,
        order_by: &str,
        read: impl Fn(&Row<'_>) -> goodword_store::Result<T>,
        position: impl Fn(&T) -> i64,
    ) -> Result<Listing<T>> {
        let (compare, direction) = if page.ascending { (">", "ASC") } else { ("<", "DESC") };
        if let Some(cursor) = page.after {
            self.and_int(&format!("{order_by} {compare}"), cursor.order);
        }
        self.args.push(Value::Int(page.limit as i64 + 1));
        self.sql.push_str(&format!(" ORDER BY {order_by} {direction} LIMIT ${}", self.args.len()));
        self.run(tx, page.limit, read, |row| Cursor { order: position(row), id: Uuid::nil() }).await
    }

    /// One page in the order of the ids, which is the order of time.
    pub async fn page_by_id<T>(
        mut self,
        tx: &mut Tx<'_>,
        page: &Page,
        read: impl Fn(&Row<'_>) -> goodword_store::Result<T>,
        position: impl Fn(&T) -> Uuid,
    ) -> Result<Listing<T>> {
        // The smallest id of a millisecond: ids begin with 48 bits of time.
        let first_of = |at: Timestamp| Uuid::from_u128((at.ms() as u128) << 80);
        if let Some(after) = page.created_after {
            self.and_id("id >=", first_of(after.plus_ms(1)));
        }
        if let Some(before) = page.created_before {
            self.and_id("id <", first_of(before));
        }
        let (compare, direction) = if page.ascending { (">", "ASC") } else { ("<", "DESC") };
        if let Some(cursor) = page.after {
            self.and_id(&format!("id {compare}"), cursor.id);
        }
        self.args.push(Value::Int(page.limit as i64 + 1));
        self.sql.push_str(&format!(" ORDER BY id {direction} LIMIT ${}", self.args.len()));
        self.run(tx, page.limit, read, |row| Cursor { order: 0, id: position(row) }).await
    }

    async fn run<T>(
        self,
        tx: &mut Tx<'_>,
        limit: usize,
        read: impl Fn(&Row<'_>) -> goodword_store::Result<T>,
        cursor: impl Fn(&T) -> Cursor,
    ) -> Result<Listing<T>> {
        let args: Vec<Arg<'_>> = self.args.iter().map(Value::as_arg).collect();
        let mut data = tx.fetch(&self.sql, &args, read).await?;
        let more = data.len() > limit;
        data.truncate(limit);
        let next = if more { data.last().map(cursor) } else { None };
        Ok(Listing { data, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text() {
        let cursor = Cursor { order: 1_763_640_000_123, id: Uuid::from_u128(0x0199_f00d_0000_7000_8000_0000_0000_0001) };
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        for text in ["", "x", "-", "!-1", "1-zz"] {
            assert!(Cursor::parse(text).is_err(), "{text}");
        }
    }
}
