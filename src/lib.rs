//! Liap: a self-hosted server for Liap Tui, the four-player Chinese-Thai piece game.

pub mod archive;
pub mod cli;
pub mod config;
pub mod game;
pub mod http;
pub mod limit;
pub mod load;
pub mod observe;
pub mod protocol;
pub mod room;
pub mod server;
