//! Liap: a self-hosted server for Liap Tui, the four-player Chinese-Thai piece game.
//!
//! The code map, in reading order. `ARCHITECTURE.md` tells the way of a move through it.
//!
//! [`game`] is the rules: pure, without clock, log or thread. Bots live here too and know only what a seat may know.
//!
//! [`protocol`] is the wire: what may be said, and its text form. It decides nothing.
//!
//! [`room`] is the live tables: a room turns inputs into effects, one task carries them out, a journal lets them survive.
//! No table touches a file or waits for one.
//!
//! [`archive`] keeps completed games and finds them again. It is never on the path of a move.
//!
//! [`redis`] is the way to a Redis that several servers share; none of them needs it.
//!
//! [`limit`] says who may go how fast; [`observe`] is log, metrics, health and memory. Neither reads a message.
//!
//! [`directory`] knows on which of several servers a room is.
//!
//! [`http`] serves connections, routes, sockets and the page. It decides nothing about games.
//!
//! [`services`] is one value with a handle on each of these; what follows takes it.
//!
//! [`memory_reclaimer`] gives memory back when it is tight, without harming a game.
//!
//! `insecure_tls` is TLS where nobody's certificate is looked at: the health check of this machine, a database that wants so.
//!
//! [`config`] gathers everybody's options, [`server`] wires, starts and stops, [`cli`] has one file a command, [`load`] is
//! the load tool's players.

pub mod archive;
pub mod cli;
pub mod config;
pub mod directory;
pub mod game;
pub mod http;
mod insecure_tls;
pub mod limit;
pub mod load;
pub mod memory_reclaimer;
pub mod observe;
pub mod protocol;
pub mod redis;
pub mod room;
pub mod server;
pub mod services;
