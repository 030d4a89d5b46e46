//! What the columns of a file mean, and the rows that come of it: every value is checked
//! here, before a transaction is open.

use super::{
    Kind,
    rows::{Content, Raw, Row},
};
use crate::engine::{
    Error,
    campaign::Campaign,
    export::unneutralised,
    participant::{Person, ReferrerKey, checked_fields, identity},
    qualify::LeadKey,
    view::Fields,
};
use goodword_core::{
    Invalid,
    campaign::Field,
    decide::LeadStatus,
    text::{Code, Email, Line},
    time::{MINUTE_MS, Timestamp},
};
use serde_json::Value;
use std::{borrow::Cow, str::FromStr};

/// A column that the engine knows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    Email,
    FirstName,
    LastName,
    ExternalId,
    Code,
    CreatedAt,
    SuspendedAt,
    Referrer,
    LinkUsedAt,
    Status,
    QualifiedAt,
    Coupon,
    LeadId,
    EventId,
    Note,
}

const KNOWN: usize = Known::Note as usize + 1;

/// A column, and what becomes of its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Known(Known),
    /// The campaign's own field of that place.
    Field(usize),
    Ignored,
}

impl Known {
    const fn name(self) -> &'static str {
        match self {
            Known::Email => "email",
            Known::FirstName => "first_name",
            Known::LastName => "last_name",
            Known::ExternalId => "external_id",
            Known::Code => "code",
            Known::CreatedAt => "created_at",
            Known::SuspendedAt => "suspended_at",
            Known::Referrer => "referrer",
            Known::LinkUsedAt => "link_used_at",
            Known::Status => "status",
            Known::QualifiedAt => "qualified_at",
            Known::Coupon => "coupon",
            Known::LeadId => "lead_id",
            Known::EventId => "event_id",
            Known::Note => "note",
        }
    }
}

/// The columns that a kind of import reads.
const fn known(kind: Kind) -> &'static [Known] {
    use Known as K;
    match kind {
        Kind::Referrers => &[K::Email, K::FirstName, K::LastName, K::ExternalId, K::Code, K::CreatedAt, K::SuspendedAt],
        Kind::Leads => &[K::Email, K::FirstName, K::LastName, K::ExternalId, K::Code, K::Referrer, K::CreatedAt, K::LinkUsedAt, K::Status, K::QualifiedAt],
        Kind::Qualifications => &[K::Email, K::Code, K::Coupon, K::ExternalId, K::LeadId, K::QualifiedAt, K::EventId, K::Note],
        Kind::Coupons => &[K::Code],
    }
}

/// The columns of which a qualification's file has exactly one.
const KEYS: [Known; 5] = [Known::Email, Known::Code, Known::Coupon, Known::ExternalId, Known::LeadId];

/// What an export tells beside that, and an import has no use for.
const fn told(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Referrers => &["id", "number", "campaign", "name", "source", "status", "referral_link", "leads", "qualified_leads", "lead_id", "updated_at"],
        Kind::Leads => &["id", "number", "campaign", "name", "source", "status_reason", "risk", "referrer_id", "referrer_email", "referrer_name", "updated_at"],
        Kind::Qualifications | Kind::Coupons => &[],
    }
}

/// The names that mean something to an import of that kind, or to an export: a campaign's field of
/// such a name is written `fields.name`.
pub fn is_taken(kind: Kind, name: &str) -> bool {
    known(kind).iter().any(|known| known.name() == name) || told(kind).contains(&name)
}

/// What the rows of a file are read with.
pub struct Reader {
    kind: Kind,
    /// `None` where qualifications name no campaign.
    campaign: Option<Campaign>,
    fields: Vec<Field>,
    /// Keys of the campaign's fields for the other role. Exports tell them of people who have both.
    others: Vec<String>,
    ignored: Vec<String>,
    header: Vec<Target>,
    now: Timestamp,
}

/// A person who becomes a referrer.
#[derive(Debug, Clone)]
pub struct NewReferrer {
    pub line: u64,
    pub identity: String,
    pub mailbox: String,
    pub person: Person,
    /// The fields as JSON.
    pub fields: String,
    /// The code that the row asks for, or one that was drawn.
    pub code: Code,
    pub chosen: bool,
    pub since: Option<Timestamp>,
    pub suspended_at: Option<Timestamp>,
}

/// A person who becomes a lead.
#[derive(Debug, Clone)]
pub struct NewLead {
    pub person: Person,
    pub referrer: ReferrerKey,
    pub code: Option<Code>,
    pub since: Option<Timestamp>,
    pub link_used_at: Option<Timestamp>,
    pub status: LeadStatus,
    pub qualified_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub struct NewQualification {
    pub lead: LeadKey,
    pub qualified_at: Option<Timestamp>,
    pub event_id: Option<String>,
    pub note: Option<String>,
}

/// A row that was understood.
#[derive(Debug, Clone)]
pub enum Item {
    Referrer(Box<NewReferrer>),
    Lead(Box<NewLead>),
    Qualification(NewQualification),
    Coupon(String),
}

impl Reader {
    /// Understands a header: every column is one that is known, a field of the campaign, or ignored by name.
    pub fn new(kind: Kind, campaign: Option<Campaign>, ignored: &[String], header: Option<&[String]>, now: Timestamp) -> Result<Self, String> {
        let fields = campaign.as_ref().map_or_else(Vec::new, |campaign| match kind {
            Kind::Referrers => campaign.settings().referrer_fields.clone(),
            Kind::Leads => campaign.settings().lead_fields.clone(),
            Kind::Qualifications | Kind::Coupons => Vec::new(),
        });
        let others = campaign.as_ref().map_or_else(Vec::new, |campaign| {
            let settings = campaign.settings();
            settings
                .referrer_fields
                .iter()
                .chain(&settings.lead_fields)
                .map(|field| field.key.clone())
                .filter(|key| fields.iter().all(|own| own.key != *key))
                .collect()
        });
        let mut reader = Self { kind, campaign, fields, others, ignored: ignored.to_vec(), header: Vec::new(), now };
        let Some(header) = header else { return Ok(reader) };
        let mut unknown = Vec::new();
        for (i, name) in header.iter().enumerate() {
            match reader.target(name) {
                Some(target) if target != Target::Ignored && reader.header.contains(&target) => {
                    return Err(format!("each column once, but {name} is there twice"));
                }
                Some(target) => reader.header.push(target),
                None if name.is_empty() => unknown.push(format!("column {} (without a name)", i + 1)),
                None => unknown.push(reader.nearest(name).map_or_else(|| name.clone(), |near| format!("{name} (did you mean {near}?)"))),
            }
        }
        if !unknown.is_empty() {
            return Err(format!("the columns {}, and others only where they are ignored by name; found {}", reader.names().join(", "), unknown.join(", ")));
        }
        let has = |known: Known| reader.header.contains(&Target::Known(known));
        let required: &[Known] = match kind {
            Kind::Referrers => &[Known::Email],
            Kind::Leads => &[Known::Email, Known::Referrer],
            Kind::Qualifications => &[],
            Kind::Coupons => &[Known::Code],
        };
        if let Some(missing) = required.iter().find(|known| !has(**known)) {
            return Err(format!("the column {}, which is missing", missing.name()));
        }
        if kind == Kind::Qualifications && KEYS.iter().filter(|key| has(**key)).count() != 1 {
            return Err("exactly one of the columns email, code, coupon, external_id and lead_id, which says who is qualified".to_owned());
        }
        Ok(reader)
    }

    /// The names that a column can have.
    fn names(&self) -> Vec<String> {
        let own = self.fields.iter().map(|field| if is_taken(self.kind, &field.key) { format!("fields.{}", field.key) } else { field.key.clone() });
        known(self.kind).iter().map(|known| known.name().to_owned()).chain(own).collect()
    }

    /// The name that was meant, where the spelling differs by a letter or two.
    fn nearest(&self, name: &str) -> Option<String> {
        let plain = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<Vec<_>>();
        let written = plain(name);
        let distance = |known: &String| edits(&written, &plain(known));
        let most = usize::from(written.len() > 2) + usize::from(written.len() > 4);
        self.names().into_iter().min_by_key(distance).filter(|near| distance(near) <= most)
    }

    fn target(&self, name: &str) -> Option<Target> {
        let field = |key: &str| self.fields.iter().position(|field| field.key == key).map(Target::Field);
        if self.ignored.iter().any(|ignored| ignored == name) {
            return Some(Target::Ignored);
        }
        if let Some(known) = known(self.kind).iter().find(|known| known.name() == name) {
            return Some(Target::Known(*known));
        }
        if told(self.kind).contains(&name) {
            return Some(Target::Ignored);
        }
        field(name.strip_prefix("fields.").unwrap_or(name))
    }

    /// The row as what it is meant to be, or why it cannot be.
    pub fn read(&self, row: &Row) -> Result<Item, String> {
        let mut draft = Draft::default();
        match (&row.content, &row.raw) {
            (Content::Unreadable(reason), _) => return Err(reason.clone()),
            (Content::Cells, Raw::Record(record)) => {
                for (target, cell) in self.header.iter().zip(record) {
                    let text = std::str::from_utf8(cell).map_err(|_| "expected UTF-8".to_owned())?;
                    match (target, unneutralised(text.trim())) {
                        (Target::Ignored, _) | (_, "") => {}
                        (Target::Known(known), text) => draft.texts[*known as usize] = Some(Cow::Borrowed(text)),
                        (Target::Field(i), text) => {
                            draft.fields.insert(self.fields[*i].key.clone(), text.into());
                        }
                    }
                }
            }
            (Content::Object(object), _) => {
                for (name, value) in object {
                    match (name.as_str(), value) {
                        ("fields", Value::Object(fields)) => {
                            let own = fields.iter().filter(|(key, _)| !self.others.contains(key));
                            draft.fields.extend(own.map(|(key, value)| (key.clone(), value.clone())));
                        }
                        ("referrer", Value::Object(referrer)) if self.kind == Kind::Leads => {
                            let named = ["code", "email", "id"].iter().find_map(|key| referrer.get(*key).and_then(Value::as_str));
                            draft.texts[Known::Referrer as usize] = named.map(Cow::Borrowed);
                        }
                        _ => match self.target(name) {
                            None => return Err(format!("{name}: there is no such column; known are {}", self.names().join(", "))),
                            Some(Target::Ignored) => {}
                            Some(Target::Known(known)) => draft.texts[known as usize] = text(name, value)?,
                            Some(Target::Field(i)) => {
                                draft.fields.insert(self.fields[i].key.clone(), value.clone());
                            }
                        },
                    }
                }
            }
            (Content::Cells, Raw::Text(_)) => return Err("the row has no cells".to_owned()),
        }
        self.item(row.line, draft)
    }

    fn item(&self, line: u64, mut draft: Draft<'_>) -> Result<Item, String> {
        match self.kind {
            Kind::Referrers => {
                let campaign = self.campaign.as_ref().ok_or("the campaign is missing")?;
                let person = self.person(&mut draft, true)?;
                let since = self.past(&draft, Known::CreatedAt)?;
                let suspended_at = self.past(&draft, Known::SuspendedAt)?;
                let code: Option<Code> = draft.parse(Known::Code)?;
                Ok(Item::Referrer(Box::new(NewReferrer {
                    line,
                    identity: identity(campaign, &person.email),
                    mailbox: person.email.mailbox_key(),
                    fields: serde_json::to_string(&person.fields).map_err(|error| error.to_string())?,
                    person,
                    chosen: code.is_some(),
                    code: code.unwrap_or_else(|| Code::from_random(0)),
                    since,
                    suspended_at,
                })))
            }
            Kind::Leads => {
                let person = self.person(&mut draft, false)?;
                let referrer = draft.texts[Known::Referrer as usize].as_deref().ok_or("referrer: expected the code, e-mail address or id of the referrer")?;
                let referrer = referrer_key(referrer).map_err(|invalid| format!("referrer: {invalid}"))?;
                let since = self.past(&draft, Known::CreatedAt)?;
                let qualified_at = self.past(&draft, Known::QualifiedAt)?;
                let status = match draft.texts[Known::Status as usize].as_deref().map(str::to_ascii_lowercase) {
                    None if qualified_at.is_some() => LeadStatus::Qualified,
                    None => LeadStatus::Pending,
                    Some(word) => LeadStatus::parse(&word).ok_or("status: expected pending, qualified or rejected")?,
                };
                // A lead that is pending again keeps the time at which it was qualified first; it is told, not done.
                let qualified_at = qualified_at.filter(|_| status == LeadStatus::Qualified);
                if let (Some(since), Some(at)) = (since, qualified_at)
                    && at < since
                {
                    return Err("qualified_at: expected a time that is not before created_at".to_owned());
                }
                Ok(Item::Lead(Box::new(NewLead {
                    person,
                    referrer,
                    code: draft.parse(Known::Code)?,
                    since: since.or(qualified_at),
                    link_used_at: self.past(&draft, Known::LinkUsedAt)?,
                    status,
                    qualified_at,
                })))
            }
            Kind::Qualifications => {
                let mut keys = KEYS.iter().filter(|key| draft.texts[**key as usize].is_some());
                let (Some(key), None) = (keys.next(), keys.next()) else {
                    return Err("expected one of email, code, coupon, external_id and lead_id".to_owned());
                };
                let lead = match key {
                    Known::Email => draft.parse(Known::Email)?.map(LeadKey::Email),
                    Known::Code => draft.parse(Known::Code)?.map(LeadKey::Code),
                    Known::LeadId => draft.parse(Known::LeadId)?.map(LeadKey::Id),
                    Known::Coupon => draft.line(Known::Coupon)?.map(LeadKey::Coupon),
                    _ => draft.line(Known::ExternalId)?.map(LeadKey::ExternalId),
                };
                Ok(Item::Qualification(NewQualification {
                    lead: lead.ok_or("expected who is qualified")?,
                    qualified_at: self.past(&draft, Known::QualifiedAt)?,
                    event_id: draft.line(Known::EventId)?,
                    note: draft.line(Known::Note)?,
                }))
            }
            Kind::Coupons => draft.line(Known::Code)?.map(Item::Coupon).ok_or_else(|| "code: expected a coupon code".to_owned()),
        }
    }

    /// A lead whose required fields are missing is refused by the decision, which is recorded; a referrer here.
    fn person(&self, draft: &mut Draft<'_>, all_fields: bool) -> Result<Person, String> {
        let email: Email = draft.parse(Known::Email)?.ok_or("email: expected an e-mail address like priya@example.com")?;
        let given = std::mem::take(&mut draft.fields);
        let fields = if given.is_empty() && self.fields.is_empty() {
            given
        } else {
            let (fields, missing) = checked_fields(&self.fields, &given).map_err(|error| reason(&error))?;
            if all_fields && !missing.is_empty() {
                return Err(format!("expected the required fields; missing: {}", missing.join(", ")));
            }
            fields
        };
        Ok(Person {
            email,
            first_name: draft.line(Known::FirstName)?.unwrap_or_default(),
            last_name: draft.line(Known::LastName)?.unwrap_or_default(),
            external_id: draft.line(Known::ExternalId)?,
            fields,
            ip: None,
            visitor: None,
        })
    }

    /// A time that has come already.
    fn past(&self, draft: &Draft<'_>, known: Known) -> Result<Option<Timestamp>, String> {
        let at: Option<Timestamp> = draft.parse(known)?;
        match at {
            Some(at) if at > self.now.plus_ms(MINUTE_MS) => Err(format!("{}: expected a time that is not in the future", known.name())),
            at => Ok(at.map(|at| at.min(self.now))),
        }
    }
}

/// How many letters must be changed, added or left out to make one word of the other.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The code, e-mail address or id of a referrer.
fn referrer_key(text: &str) -> Result<ReferrerKey, Invalid> {
    if text.contains('@') {
        return text.parse().map(ReferrerKey::Email);
    }
    if text.starts_with("ref_")
        && let Ok(id) = text.parse()
    {
        return Ok(ReferrerKey::Id(id));
    }
    text.parse().map(ReferrerKey::Code)
}

/// An error of the engine in the words of a report about a row.
pub fn reason(error: &Error) -> String {
    match error {
        Error::Invalid { field, expected } => {
            let name = field.trim_start_matches('/').replace('/', ".");
            if name.is_empty() { format!("expected {expected}") } else { format!("{name}: expected {expected}") }
        }
        other => other.to_string(),
    }
}

/// The text of a JSON value; `null` and an empty text are absent.
fn text<'a>(name: &str, value: &'a Value) -> Result<Option<Cow<'a, str>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => Ok(Some(Cow::Borrowed(text.trim()))),
        Value::Number(number) => Ok(Some(Cow::Owned(number.to_string()))),
        _ => Err(format!("{name}: expected a text")),
    }
}

/// A row by its columns, before it is checked.
#[derive(Default)]
struct Draft<'a> {
    texts: [Option<Cow<'a, str>>; KNOWN],
    fields: Fields,
}

impl Draft<'_> {
    fn parse<T: FromStr<Err = Invalid>>(&self, known: Known) -> Result<Option<T>, String> {
        self.texts[known as usize].as_deref().map(|text| text.parse().map_err(|invalid: Invalid| format!("{}: {invalid}", known.name()))).transpose()
    }

    fn line(&self, known: Known) -> Result<Option<String>, String> {
        self.parse::<Line>(known).map(|line| line.map(Line::into_string))
    }
}
