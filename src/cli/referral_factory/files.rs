//! The vendor's CSV exports of referrers and leads. Their columns are not documented and have changed: they
//! are known by any of several names, and others are the campaign's own fields.

use super::theirs::{TheirReferrer, TheirUser, is_yes, time};
use crate::cli::{Failure, Result};
use std::path::Path;

/// What a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Id,
    FirstName,
    LastName,
    Email,
    Code,
    Link,
    Source,
    Ip,
    SignedUp,
    Status,
    QualifiedAt,
    Unsubscribed,
    Referrer,
    Ignored,
    Field(String),
}

/// Names without spaces, signs and case.
const NAMES: &[(Column, &[&str])] = &[
    (Column::Id, &["id", "userid", "referrerid", "leadid"]),
    (Column::FirstName, &["firstname", "name", "first"]),
    (Column::LastName, &["lastname", "surname", "last"]),
    (Column::Email, &["email", "emailaddress", "mail"]),
    (Column::Code, &["code", "referralcode", "usercode", "uniquecode"]),
    (Column::Link, &["link", "url", "referrallink", "uniquelink", "uniquereferrallink", "joinlink"]),
    (Column::Source, &["source", "usersource"]),
    (Column::Ip, &["ip", "ipaddress"]),
    (Column::SignedUp, &["signedupat", "signedup", "signupdate", "date", "datejoined", "joined", "joinedat", "createdat", "dateadded", "addedat"]),
    (Column::Status, &["status", "qualified", "isqualified", "converted"]),
    (Column::QualifiedAt, &["qualifiedat", "qualifiedon", "qualifieddate", "datequalified", "qualificationdate", "convertedat", "dateconverted"]),
    (Column::Unsubscribed, &["unsubscribedat", "unsubscribed"]),
    (
        Column::Referrer,
        &[
            "referrer",
            "referreremail",
            "referredby",
            "referredbyemail",
            "referrercode",
            "referrerreferralcode",
            "referredbycode",
            "referrersemail",
            "referrerlink",
            "referrerreferrallink",
        ],
    ),
    (
        Column::Ignored,
        &[
            "reach",
            "referrals",
            "referralscount",
            "referralcount",
            "conversions",
            "convertedreferrals",
            "convertedreferralscount",
            "qualifiedreferrals",
            "campaign",
            "campaignname",
            "campaignid",
            "type",
            "referrername",
            "referrerfirstname",
            "submissionformurl",
            "submissionform",
            "qr",
            "qrcode",
            "analytics",
        ],
    ),
];

fn column(name: &str) -> Column {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    NAMES.iter().find(|(_, names)| names.contains(&plain.as_str())).map_or_else(|| Column::Field(name.trim().to_owned()), |(column, _)| column.clone())
}

/// The people of a file, with the line of each.
pub fn read(path: &Path) -> Result<Vec<(u64, TheirUser)>> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_path(path).map_err(|error| failed(&error))?;
    let headers = reader.headers().map_err(|error| failed(&error))?.clone();
    let columns: Vec<Column> = headers.iter().map(|name| column(name.trim_start_matches('\u{feff}'))).collect();
    if !columns.contains(&Column::Email) {
        return Err(failed(&"there is no column of e-mail addresses").hint("The first line of the file names its columns, Email among them."));
    }
    let mut people = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| failed(&error))?;
        let line = record.position().map_or(0, |position| position.line());
        if record.iter().all(str::is_empty) {
            continue;
        }
        people.push((line, person(&columns, &record)));
    }
    Ok(people)
}

fn person(columns: &[Column], record: &csv::StringRecord) -> TheirUser {
    let mut user = TheirUser {
        id: None,
        campaign_id: None,
        referrer: None,
        code: None,
        first_name: String::new(),
        last_name: String::new(),
        email: String::new(),
        source: String::new(),
        ip: None,
        signed_up_at: None,
        qualified: false,
        qualified_at: None,
        unsubscribed_at: None,
        meta: Vec::new(),
    };
    for (column, cell) in columns.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty() && *cell != "-") {
        match column {
            Column::Id => user.id = cell.parse().ok(),
            Column::FirstName => user.first_name = cell.to_owned(),
            Column::LastName => user.last_name = cell.to_owned(),
            Column::Email => user.email = cell.to_owned(),
            Column::Code => user.code = Some(cell.to_owned()),
            Column::Link => user.code = user.code.take().or_else(|| code_of(cell)),
            Column::Source => user.source = cell.to_owned(),
            Column::Ip => user.ip = Some(cell.to_owned()),
            Column::SignedUp => user.signed_up_at = time(cell),
            Column::Status => user.qualified |= is_yes(cell),
            Column::QualifiedAt => {
                user.qualified_at = time(cell);
                user.qualified |= user.qualified_at.is_some() || is_yes(cell);
            }
            Column::Unsubscribed => user.unsubscribed_at = time(cell),
            Column::Referrer if user.referrer.is_none() => {
                user.referrer = Some(match cell {
                    _ if cell.contains("://") => TheirReferrer::Code(code_of(cell).unwrap_or_default()),
                    _ if cell.contains('@') => TheirReferrer::Email(cell.to_owned()),
                    _ => TheirReferrer::Code(cell.to_owned()),
                });
            }
            Column::Field(label) => user.meta.push((label.clone(), cell.to_owned())),
            Column::Referrer | Column::Ignored => {}
        }
    }
    user
}

/// The last part of a referral link.
fn code_of(link: &str) -> Option<String> {
    let path = link.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    path.rsplit('/').next().filter(|code| !code.is_empty() && !code.contains('.')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_several_names() {
        assert_eq!(column("First Name"), Column::FirstName);
        assert_eq!(column("Referral Link"), Column::Link);
        assert_eq!(column("Referrer's Email"), Column::Referrer);
        assert_eq!(column("Referrer Email"), Column::Referrer);
        assert_eq!(column("Shoe size"), Column::Field("Shoe size".into()));
    }

    #[test]
    fn links_end_with_codes() {
        assert_eq!(code_of("https://acme.referral-factory.com/ueONFmUp?utm=1").as_deref(), Some("ueONFmUp"));
        assert_eq!(code_of("https://acme.referral-factory.com"), None);
    }
}
