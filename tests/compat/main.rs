//! The drop-in for Referral Factory: real requests to the real server, on both databases.

mod recorded;
mod site;
