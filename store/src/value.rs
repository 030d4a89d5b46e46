//! The few values which cross into SQL, and how both engines see them.
use crate::{Error, Result};
use bytes::BytesMut;
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::rc::Rc;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type as PgType, to_sql_checked};
use uuid::Uuid;

/// What a column holds. Times (milliseconds) and money (minor units) are `Int`, JSON is `Text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int,
    Real,
    Text,
    Bytes,
    /// A UUID; sixteen bytes on SQLite.
    Id,
}

impl Type {
    /// The column type as both engines accept it in SQL.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Type::Bool => "boolean",
            Type::Int => "bigint",
            Type::Real => "double precision",
            Type::Text => "text",
            Type::Bytes => "bytea",
            Type::Id => "uuid",
        }
    }

    pub(crate) fn postgres(self) -> PgType {
        match self {
            Type::Bool => PgType::BOOL,
            Type::Int => PgType::INT8,
            Type::Real => PgType::FLOAT8,
            Type::Text => PgType::TEXT,
            Type::Bytes => PgType::BYTEA,
            Type::Id => PgType::UUID,
        }
    }
}

/// A value on its way into a statement, or still inside the row it was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Id(Uuid),
    /// A list, for `{in:$1}`.
    Ints(&'a [i64]),
    /// A list, for `{in:$1}`.
    Ids(&'a [Uuid]),
}

/// An [`Arg`] which owns what it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
    Id(Uuid),
    Ints(Vec<i64>),
    Ids(Vec<Uuid>),
}

impl Arg<'_> {
    pub fn to_value(self) -> Value {
        match self {
            Arg::Null => Value::Null,
            Arg::Bool(v) => Value::Bool(v),
            Arg::Int(v) => Value::Int(v),
            Arg::Real(v) => Value::Real(v),
            Arg::Text(v) => Value::Text(v.to_owned()),
            Arg::Bytes(v) => Value::Bytes(v.to_owned()),
            Arg::Id(v) => Value::Id(v),
            Arg::Ints(v) => Value::Ints(v.to_owned()),
            Arg::Ids(v) => Value::Ids(v.to_owned()),
        }
    }

    /// For messages, which must not tell the value: it may be a secret, or a person's.
    fn kind(self) -> &'static str {
        match self {
            Arg::Null => "NULL",
            Arg::Bool(_) => "a boolean",
            Arg::Int(_) => "an integer",
            Arg::Real(_) => "a real number",
            Arg::Text(_) => "text",
            Arg::Bytes(_) => "bytes",
            Arg::Id(_) => "an id",
            Arg::Ints(_) => "a list of integers",
            Arg::Ids(_) => "a list of ids",
        }
    }

    /// This value as a column of type `ty` means it: SQLite keeps booleans as numbers and ids as bytes.
    pub(crate) fn to_value_of(self, ty: Type) -> Result<Value> {
        Ok(match ty {
            _ if self == Arg::Null => Value::Null,
            Type::Bool => Value::Bool(bool::from_column(self)?),
            Type::Int => Value::Int(i64::from_column(self)?),
            Type::Real => Value::Real(f64::from_column(self)?),
            Type::Text => Value::Text(String::from_column(self)?),
            Type::Bytes => Value::Bytes(Vec::from_column(self)?),
            Type::Id => Value::Id(Uuid::from_column(self)?),
        })
    }
}

impl Value {
    pub fn as_arg(&self) -> Arg<'_> {
        match self {
            Value::Null => Arg::Null,
            Value::Bool(v) => Arg::Bool(*v),
            Value::Int(v) => Arg::Int(*v),
            Value::Real(v) => Arg::Real(*v),
            Value::Text(v) => Arg::Text(v),
            Value::Bytes(v) => Arg::Bytes(v),
            Value::Id(v) => Arg::Id(*v),
            Value::Ints(v) => Arg::Ints(v),
            Value::Ids(v) => Arg::Ids(v),
        }
    }
}

impl From<i64> for Arg<'_> {
    fn from(v: i64) -> Self {
        Arg::Int(v)
    }
}
impl From<i32> for Arg<'_> {
    fn from(v: i32) -> Self {
        Arg::Int(v.into())
    }
}
impl From<u32> for Arg<'_> {
    fn from(v: u32) -> Self {
        Arg::Int(v.into())
    }
}
impl From<bool> for Arg<'_> {
    fn from(v: bool) -> Self {
        Arg::Bool(v)
    }
}
impl From<f64> for Arg<'_> {
    fn from(v: f64) -> Self {
        Arg::Real(v)
    }
}
impl From<Uuid> for Arg<'_> {
    fn from(v: Uuid) -> Self {
        Arg::Id(v)
    }
}
impl<'a> From<&'a str> for Arg<'a> {
    fn from(v: &'a str) -> Self {
        Arg::Text(v)
    }
}
impl<'a> From<&'a String> for Arg<'a> {
    fn from(v: &'a String) -> Self {
        Arg::Text(v)
    }
}
impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(v: &'a [u8]) -> Self {
        Arg::Bytes(v)
    }
}
impl<'a> From<&'a Vec<u8>> for Arg<'a> {
    fn from(v: &'a Vec<u8>) -> Self {
        Arg::Bytes(v)
    }
}
impl<'a> From<&'a [i64]> for Arg<'a> {
    fn from(v: &'a [i64]) -> Self {
        Arg::Ints(v)
    }
}
impl<'a> From<&'a [Uuid]> for Arg<'a> {
    fn from(v: &'a [Uuid]) -> Self {
        Arg::Ids(v)
    }
}
impl<'a> From<&'a Value> for Arg<'a> {
    fn from(v: &'a Value) -> Self {
        v.as_arg()
    }
}
impl<'a, T: Into<Arg<'a>>> From<Option<T>> for Arg<'a> {
    fn from(v: Option<T>) -> Self {
        v.map_or(Arg::Null, Into::into)
    }
}

impl rusqlite::ToSql for Arg<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Arg::Null => ValueRef::Null,
            Arg::Bool(v) => ValueRef::Integer((*v).into()),
            Arg::Int(v) => ValueRef::Integer(*v),
            Arg::Real(v) => ValueRef::Real(*v),
            Arg::Text(v) => ValueRef::Text(v.as_bytes()),
            Arg::Bytes(v) => ValueRef::Blob(v),
            Arg::Id(v) => ValueRef::Blob(v.as_bytes()),
            Arg::Ints(v) => return Ok(list(v.iter().map(|v| (*v).into()))),
            Arg::Ids(v) => return Ok(list(v.iter().map(|v| v.as_bytes().to_vec().into()))),
        }))
    }
}

fn list<'a>(values: impl Iterator<Item = rusqlite::types::Value>) -> ToSqlOutput<'a> {
    ToSqlOutput::from_rc(Rc::new(values.collect::<Vec<_>>()), c"rarray")
}

type Encoded = Result<IsNull, Box<dyn std::error::Error + Sync + Send>>;

impl ToSql for Arg<'_> {
    fn to_sql(&self, ty: &PgType, out: &mut BytesMut) -> Encoded {
        match (self, ty) {
            (Arg::Null, _) => return Ok(IsNull::Yes),
            (Arg::Bool(v), &PgType::BOOL) => out.extend_from_slice(&[u8::from(*v)]),
            (Arg::Int(v), &PgType::INT8) => out.extend_from_slice(&v.to_be_bytes()),
            (Arg::Int(v), &PgType::INT4) => out.extend_from_slice(&i32::try_from(*v)?.to_be_bytes()),
            (Arg::Int(v), &PgType::INT2) => out.extend_from_slice(&i16::try_from(*v)?.to_be_bytes()),
            (Arg::Real(v), &PgType::FLOAT8) => out.extend_from_slice(&v.to_be_bytes()),
            (Arg::Text(v), &PgType::TEXT | &PgType::VARCHAR | &PgType::BPCHAR | &PgType::NAME | &PgType::UNKNOWN) => out.extend_from_slice(v.as_bytes()),
            (Arg::Bytes(v), &PgType::BYTEA) => out.extend_from_slice(v),
            (Arg::Id(v), &PgType::UUID) => out.extend_from_slice(v.as_bytes()),
            (Arg::Ints(v), &PgType::INT8_ARRAY) => return v.to_sql(ty, out),
            (Arg::Ids(v), &PgType::UUID_ARRAY) => return v.iter().map(|v| Arg::Id(*v)).collect::<Vec<_>>().to_sql(ty, out),
            _ => return Err(format!("{} does not fit {ty}", self.kind()).into()),
        }
        Ok(IsNull::No)
    }

    /// Depends on the value, hence checked in `to_sql`.
    fn accepts(_: &PgType) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Value {
    fn to_sql(&self, ty: &PgType, out: &mut BytesMut) -> Encoded {
        self.as_arg().to_sql(ty, out)
    }

    fn accepts(_: &PgType) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Arg<'a> {
    fn from_sql(ty: &PgType, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *ty {
            PgType::BOOL => Arg::Bool(FromSql::from_sql(ty, raw)?),
            PgType::INT2 => Arg::Int(i16::from_sql(ty, raw)?.into()),
            PgType::INT4 => Arg::Int(i32::from_sql(ty, raw)?.into()),
            PgType::INT8 => Arg::Int(FromSql::from_sql(ty, raw)?),
            PgType::FLOAT4 => Arg::Real(f32::from_sql(ty, raw)?.into()),
            PgType::FLOAT8 => Arg::Real(FromSql::from_sql(ty, raw)?),
            PgType::BYTEA => Arg::Bytes(raw),
            PgType::UUID => Arg::Id(Uuid::from_slice(raw)?),
            _ => Arg::Text(FromSql::from_sql(ty, raw)?),
        })
    }

    fn from_sql_null(_: &PgType) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Arg::Null)
    }

    fn accepts(ty: &PgType) -> bool {
        use PgType as P;
        matches!(*ty, P::BOOL | P::INT2 | P::INT4 | P::INT8 | P::FLOAT4 | P::FLOAT8 | P::BYTEA | P::UUID) || <&str as FromSql>::accepts(ty)
    }
}

/// A row of a result, valid while it is being read.
pub enum Row<'a> {
    #[doc(hidden)]
    Sqlite(&'a rusqlite::Row<'a>),
    #[doc(hidden)]
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// Column `i`, counted from 0. An error if it does not hold a `T`: a mistake in the query.
    pub fn get<T: FromColumn>(&self, i: usize) -> Result<T> {
        T::from_column(self.arg(i)?)
    }

    /// The text in column `i`, borrowed.
    pub fn text(&self, i: usize) -> Result<&str> {
        match self.arg(i)? {
            Arg::Text(text) => Ok(text),
            other => Err(mismatch("text", other)),
        }
    }

    /// Column `i` as the engine holds it.
    pub(crate) fn arg(&self, i: usize) -> Result<Arg<'_>> {
        match self {
            Row::Sqlite(row) => row.get_ref(i).map_err(|e| Error::Database(e.to_string())).and_then(|value| {
                Ok(match value {
                    ValueRef::Null => Arg::Null,
                    ValueRef::Integer(v) => Arg::Int(v),
                    ValueRef::Real(v) => Arg::Real(v),
                    ValueRef::Blob(v) => Arg::Bytes(v),
                    ValueRef::Text(v) => Arg::Text(std::str::from_utf8(v).map_err(|e| Error::Database(format!("column {i}: {e}")))?),
                })
            }),
            // A value no column of ours has (numeric, most often) is told with the name of its type.
            Row::Postgres(row) => row.try_get(i).map_err(|e| Error::Database(format!("{e}: cast it in the query"))),
        }
    }
}

/// What a column can be read as.
pub trait FromColumn: Sized {
    fn from_column(value: Arg<'_>) -> Result<Self>;
}

impl FromColumn for i64 {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        match value {
            Arg::Int(v) => Ok(v),
            other => Err(mismatch("an integer", other)),
        }
    }
}
impl FromColumn for bool {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        match value {
            Arg::Bool(v) => Ok(v),
            Arg::Int(v @ (0 | 1)) => Ok(v == 1),
            other => Err(mismatch("a boolean", other)),
        }
    }
}
impl FromColumn for f64 {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        match value {
            Arg::Real(v) => Ok(v),
            // SQLite may keep 1.0 as 1 where the column's type is not known, as in `sum(…)`.
            Arg::Int(v) => Ok(v as f64),
            other => Err(mismatch("a number", other)),
        }
    }
}
impl FromColumn for String {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        match value {
            Arg::Text(v) => Ok(v.to_owned()),
            other => Err(mismatch("text", other)),
        }
    }
}
impl FromColumn for Vec<u8> {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        match value {
            Arg::Bytes(v) => Ok(v.to_owned()),
            other => Err(mismatch("bytes", other)),
        }
    }
}
impl FromColumn for Uuid {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        match value {
            Arg::Id(v) => Ok(v),
            Arg::Bytes(v) => Uuid::from_slice(v).map_err(|_| mismatch("an id", value)),
            other => Err(mismatch("an id", other)),
        }
    }
}
impl FromColumn for Value {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        Ok(value.to_value())
    }
}
impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(value: Arg<'_>) -> Result<Self> {
        match value {
            Arg::Null => Ok(None),
            value => T::from_column(value).map(Some),
        }
    }
}

fn mismatch(wanted: &str, found: Arg<'_>) -> Error {
    Error::Database(format!("a column should hold {wanted} and holds {}", found.kind()))
}
