//! Goodword: the open-source, self-hosted referral engine.
//!
//! | module | what it knows |
//! |---|---|
//! | [`config`] | flags, environment and the TOML file |
//! | [`engine`] | commands and queries: reads facts, asks `goodword-core`, writes; knows no HTTP |
//! | [`delivery`] | tells endpoints what happens |
//! | [`http`] | what every HTTP interface shares: problems, extractors, access, limits |
//! | [`api`] | the native REST API: one file per resource |
//! | [`mcp`] | the Model Context Protocol: tools for assistants |
//! | [`compat`] | a drop-in for the API of Referral Factory |
//! | [`pages`] | what people see in a browser |
//! | [`routes`] | every address of the server, in one place |
//! | [`cli`] | the commands of the program |
//!
//! `ARCHITECTURE.md` tells the whole story.

pub mod api;
pub mod cli;
pub mod compat;
pub mod config;
pub mod delivery;
pub mod engine;
pub mod http;
pub mod mcp;
pub mod pages;
pub mod routes;
