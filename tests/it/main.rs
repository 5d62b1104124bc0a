//! One binary for all integration tests, so that they compile and link once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what fails in a helper of a test fails the test"
)]

/// Clients that break rules, and what becomes of the others.
mod abuse;
/// Addresses for servers that do not tell where they listen.
mod address;
/// Administration: the token, figures, actions, events, and memory that is given back.
mod admin;
/// What describes us to programs, held against what we do: `OpenAPI` and `AsyncAPI`.
mod api_docs;
/// The archive as a whole: games handed over, found, read, pruned, and still there after a restart.
mod archive;
/// `liap simulate`, `liap verify-deal` and `liap archive`, as a person runs them.
mod archive_commands;
/// `scripts/backup`, beside a running server, and the way back.
mod backup;
/// Clocks that are wrong or are set, as libfaketime shows them.
mod clock;
/// Completions, manual pages, and what is written about the commands.
mod command_line;
/// What every sink must do.
#[cfg(any(feature = "s3", feature = "postgres"))]
mod conforms;
/// Disks that are full or refuse while games run.
mod disk;
/// `liap doctor`, on sound and on unsound machines.
mod doctor;
/// What the documents say, where it can be held against the code.
mod documents;
/// Every setting, seen from outside.
mod effects;
/// Completed games as JSON: pages, filters, players, errors.
mod games;
/// Routes, headers and files, asked for from outside.
mod http;
/// Several servers, one Redis, one proxy.
mod instances;
/// The journal of live games on disk: older, damaged and later ones, and the way back to a game.
mod journal;
/// Which folder may use which.
mod layers;
/// What rooms leave behind that nobody wants any more.
mod leaks;
/// Limits in the process and in Redis: one suite for both, and what Redis may do.
mod limiters;
/// Alerts and dashboards, held against the metrics that really exist.
mod monitoring;
/// What operators read, held against the program.
mod operations;
/// Completed games in PostgreSQL.
#[cfg(feature = "postgres")]
mod postgres;
/// The server as a process, for whoever tests it from outside.
mod process;
/// Records of completed games: stored, decoded, shown, read back, altered and damaged.
mod records;
/// Requests that are ambiguous, too long, too slow, or left alone.
mod requests;
/// The rules as data: play types, comparisons, turns, scores, declarations, redeals, starters.
mod rules;
/// Secrets planted in a run, and searched for in everything that comes out of it.
mod secrets;
/// Real servers of the tests' own, as `scripts/test` provides them.
#[cfg(feature = "redis")]
mod services;
/// Settings: every source, every mistake, and the files made from their table.
mod settings;
/// Copies of the archive in a bucket, whatever happens to it.
#[cfg(feature = "s3")]
mod sinks;
/// The lobby and tables over real sockets.
mod sockets;
/// The archive's store: crashes, damage, full disks.
mod store;
/// Tournaments of bots, on demand.
mod strength;
/// Rooms without sockets: stages, seats, take-overs, what is shown to whom.
mod tables;
/// TLS: certificates good and bad, renewed and ended, and what comes without.
mod tls;
