//! README.md and docs: commands print what is shown, scenarios are valid, links have targets.
//!
//! `RESTAGE_UPDATE=1 cargo test --test docs` writes the output of commands anew; then read the diff.

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod links;
mod pictures;
mod scenarios;
