//! What people see in a browser: pure functions from plain views to HTML.
//!
//! | module | what it shows or knows |
//! |---|---|
//! | [`landing`] | the page behind a referral link, with the form that makes a lead |
//! | [`join`] | the sign-up of referrers |
//! | [`referrer`] | a referrer's own page: link, QR code, progress |
//! | [`admin`] | the desk of those who run the program |
//! | [`message`] | pages that say one thing: not found, not now, please again |
//! | [`layout`] | the frame around every page, icons |
//! | [`form`] | forms: reading, mistakes, and telling programs from people |
//! | [`sign`] | signed text that passes through browsers |
//! | [`visitor`] | the visitor's cookie, devices, programs |
//! | [`portal`] | what a referrer's page shows, read from the engine |
//! | [`routes`] | the addresses of all this, and the engine behind them |
//! | [`words`] | the product's own words in every language; money, numbers, dates |
//! | [`share`] | the ten ways to share a link |
//! | [`qr`] | QR codes as SVG and PNG |
//! | [`assets`] | stylesheet, script, fonts |
//!
//! Every page works without JavaScript, loads nothing from anywhere else and shows
//! nothing about anybody but the person it is for; the desk is for those who run the program.

pub mod admin;
pub mod assets;
pub mod form;
pub mod join;
pub mod landing;
pub mod layout;
pub mod message;
pub mod portal;
pub mod qr;
pub mod referrer;
pub mod routes;
pub mod share;
pub mod sign;
pub mod visitor;
pub mod words;

/// Nothing inline and nothing from elsewhere; no page can be framed.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Pages with forms: without the referrer, browsers would send their forms as if from
/// nowhere (`Origin: null`), and [`form::same_site`] could not tell.
pub const REFERRER_POLICY_FORM: &str = "same-origin";

/// The referrer's page: its address is a secret.
pub const REFERRER_POLICY_SECRET: &str = "no-referrer";
