//! The drop-in for Referral Factory: real requests to the real server, on both databases.

mod moving;
mod recorded;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod vendor;
mod webhooks;
