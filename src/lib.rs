//! Liap: a self-hosted server for Liap Tui, the four-player Chinese-Thai piece game.

pub mod game;
