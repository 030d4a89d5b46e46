//! Reading values, strictly: from JSON ([`Strict`]), and from the plain text of query strings and forms
//! ([`Node`]), where every value is a text that becomes what the type asks for, and an empty one is absent.

use super::problem::FieldError;
use serde::{
    Deserializer,
    de::{
        Error as _, IntoDeserializer, Unexpected, Visitor,
        value::{Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeMap};

const PAIRS_MAX: usize = 200;
const DEPTH_MAX: usize = 4;

/// Texts by their names, nested where names have brackets: `properties[plan]=pro`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Object(BTreeMap<String, Node>),
}

/// A field of a form.
pub(super) struct Field<'a> {
    pub name: Cow<'a, str>,
    /// Of a file, its name.
    pub value: Cow<'a, str>,
    pub is_file: bool,
}

/// The fields of `a=1&b=2`.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = Field<'_>> {
    form_urlencoded::parse(text).map(|(name, value)| Field { name, value, is_file: false })
}

/// Nests fields by their names. With `brackets`, `a[b]=1` is a member of `a`.
pub(super) fn parse<'a>(fields: impl Iterator<Item = Field<'a>>, brackets: bool) -> Result<Node, FieldError> {
    let mut root = BTreeMap::new();
    for (number, Field { name, value, is_file }) in fields.enumerate() {
        if number >= PAIRS_MAX {
            return Err(FieldError { field: String::new(), detail: format!("Expected at most {PAIRS_MAX} values.") });
        }
        if is_file {
            return Err(FieldError { field: name.into_owned(), detail: "Expected a text, found a file.".into() });
        }
        let path: Vec<&str> = match brackets {
            true => name.split('[').map(|part| part.strip_suffix(']').unwrap_or(part)).collect(),
            false => vec![&name],
        };
        if path.len() > DEPTH_MAX {
            return Err(FieldError { field: name.clone().into_owned(), detail: format!("Expected at most {DEPTH_MAX} levels.") });
        }
        if value.is_empty() && path.len() == 1 {
            continue;
        }
        if !insert(&mut root, &path, value.into_owned()) {
            return Err(FieldError { field: name.into_owned(), detail: "It is given more than once.".into() });
        }
    }
    Ok(Node::Object(root))
}

fn insert(object: &mut BTreeMap<String, Node>, path: &[&str], value: String) -> bool {
    match path {
        [] => false,
        [name] => object.insert((*name).to_owned(), Node::Text(value)).is_none(),
        [name, rest @ ..] => match object.entry((*name).to_owned()).or_insert_with(|| Node::Object(BTreeMap::new())) {
            Node::Object(inner) => insert(inner, rest, value),
            Node::Text(_) => false,
        },
    }
}

/// A form of somebody else: nested where names have brackets, a list where a name is there more than once.
pub(super) fn payload<'a>(fields: impl Iterator<Item = Field<'a>>) -> Value {
    let mut root = Map::new();
    for Field { name, value, .. } in fields {
        let path: Vec<&str> = name.splitn(DEPTH_MAX + 1, '[').map(|part| part.strip_suffix(']').unwrap_or(part)).collect();
        if path.len() > DEPTH_MAX || !put(&mut root, &path, &value) {
            // It does not fit in beside the others: it is kept by its whole name.
            put(&mut root, &[&name], &value);
        }
    }
    Value::Object(root)
}

/// The fields of a form with files (RFC 7578).
pub(super) fn parts<'a>(body: &'a str, boundary: &str) -> impl Iterator<Item = Field<'a>> {
    let delimiter = format!("--{boundary}");
    let parts: Vec<_> = body.split(delimiter.as_str()).skip(1).take_while(|part| !part.starts_with("--")).collect();
    parts.into_iter().filter_map(|part| {
        let (head, value) = part.split_once("\r\n\r\n")?;
        let quoted = |name: &str| head.split_once(name)?.1.split_once('"').map(|(text, _)| text);
        let file = quoted("; filename=\"");
        let value = file.unwrap_or_else(|| value.strip_suffix("\r\n").unwrap_or(value));
        Some(Field { name: quoted("; name=\"")?.into(), value: value.into(), is_file: file.is_some() })
    })
}

fn put(object: &mut Map<String, Value>, path: &[&str], value: &str) -> bool {
    let (name, rest) = match path {
        [] => return false,
        // A list of PHP: `boxes[]=a&boxes[]=b`.
        [name, ""] => (*name, None),
        [name] => (*name, None),
        [name, rest @ ..] => (*name, Some(rest)),
    };
    match (object.get_mut(name), rest) {
        (None, None) => {
            object.insert(name.to_owned(), value.into());
            true
        }
        (None, Some(rest)) => {
            let mut inner = Map::new();
            put(&mut inner, rest, value);
            object.insert(name.to_owned(), inner.into());
            true
        }
        (Some(Value::Object(inner)), Some(rest)) => put(inner, rest, value),
        (Some(_), Some(_)) => false,
        // What has members and a text of its own has the text under an empty name.
        (Some(Value::Object(inner)), None) => put(inner, &[""], value),
        (Some(Value::Array(list)), None) => {
            list.push(value.into());
            true
        }
        (Some(first), None) => {
            *first = Value::Array(vec![first.take(), value.into()]);
            true
        }
    }
}

impl Node {
    fn text(self) -> Result<String, Error> {
        match self {
            Node::Text(text) => Ok(text),
            Node::Object(_) => Err(Error::custom("expected a text")),
        }
    }
}

impl<'de> IntoDeserializer<'de, Error> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $expected:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.text()?.trim().parse::<$type>().map_err(|_| Error::custom(concat!("expected ", $expected)))?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Text(text) => visitor.visit_string(text),
            Node::Object(members) => visitor.visit_map(MapDeserializer::new(members.into_iter())),
        }
    }

    numbers! {
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number, 0 or more";
        deserialize_u64 visit_u64 u64, "a whole number, 0 or more";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &*self.text()? {
            "true" | "1" => visitor.visit_bool(true),
            "false" | "0" => visitor.visit_bool(false),
            _ => Err(Error::custom("expected true or false")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// Commas separate the items.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text()?;
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items.map(|item| Node::Text(item.to_owned()))))
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_enum(self.text()?.into_deserializer())
    }

    /// Refuses what the type does not know, whether or not it says `deny_unknown_fields`.
    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        if let Node::Object(members) = &self
            && let Some(unknown) = members.keys().find(|name| !fields.contains(&name.as_str()))
        {
            return Err(Error::unknown_field(unknown, fields));
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}

/// JSON without the two liberties that serde takes with structs: members that the type does not know are
/// refused whether or not it says `deny_unknown_fields`, and an array is not an object.
pub(super) struct Strict(pub Value);

impl<'de> IntoDeserializer<'de, serde_json::Error> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn strict_map(members: serde_json::Map<String, Value>) -> MapDeserializer<'static, impl Iterator<Item = (String, Strict)>, serde_json::Error> {
    MapDeserializer::new(members.into_iter().map(|(name, value)| (name, Strict(value))))
}

impl<'de> Deserializer<'de> for Strict {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Strict))),
            Value::Object(members) => visitor.visit_map(strict_map(members)),
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Object(members) if members.len() == 1 => visitor.visit_enum(MapAccessDeserializer::new(strict_map(members))),
            plain => plain.deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Object(members) => match members.keys().find(|name| !fields.contains(&name.as_str())) {
                Some(unknown) => Err(serde_json::Error::unknown_field(unknown, fields)),
                None => visitor.visit_map(strict_map(members)),
            },
            Value::Array(_) => Err(serde_json::Error::invalid_type(Unexpected::Seq, &visitor)),
            plain => plain.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
        ignored_any
    }
}
