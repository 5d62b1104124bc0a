//! Liap: a self-hosted server for Liap Tui, the four-player Chinese-Thai piece game.
//!
//! The code map, in reading order. `ARCHITECTURE.md` follows a move through it.
//!
//! [`game`] is the rules: pure, without clock, log or thread. Bots are here too, and see only what a seat may see.
//!
//! [`protocol`] is the wire: messages and their text form. It decides nothing.
//!
//! [`room`] is the live tables: a room turns inputs into effects, one task carries them out, a journal lets them survive.
//! No table touches a file or waits for one.
//!
//! `disk` is what is written: files that appear whole, frames that are found again, locks. It knows not what for.
//!
//! [`archive`] keeps completed games and finds them again. It is never on the path of a move.
//!
//! [`redis`] is the client of a Redis that several servers share; none of them needs it.
//!
//! [`limit`] is rate limits; [`observe`] is log, metrics, health and memory. Neither reads a message.
//!
//! [`directory`] finds the server that a room lives on.
//!
//! [`http`] serves connections, routes, sockets and the page. It decides nothing about games.
//!
//! [`services`] is one value with a handle on each of these; what follows takes it.
//!
//! [`memory_reclaimer`] gives memory back when it is tight, without harming a game.
//!
//! `insecure_tls` is TLS without verification of certificates, for the health check of this machine and for databases.
//!
//! `options` declares those of each folder; [`config`] gathers them, [`server`] wires, starts and stops, [`cli`] has one file for each
//! command, and [`load`] is the players of the load tool. `parallel` does the same work on many things, for archive and commands.

#[macro_use]
mod options;

pub mod archive;
pub mod cli;
pub mod config;
pub mod directory;
mod disk;
pub mod game;
pub mod http;
mod insecure_tls;
pub mod limit;
pub mod load;
pub mod memory_reclaimer;
pub mod observe;
mod parallel;
pub mod protocol;
pub mod redis;
pub mod room;
pub mod server;
pub mod services;
