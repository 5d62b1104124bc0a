//! Completed games as JSON: search, whole games, events, and totals by player.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use warp::reply::Response;

use super::answer::ok;
use super::context::RequestContext;
use super::error::HttpError;
use crate::archive::{
    Archive, GameId, GameJson, Query, ReadError, SummaryJson, Totals, replay, tell, time_from, time_until,
};
use crate::limit::{Cost, Kind};

/// Games on a page of results, unless asked for otherwise, and at most.
const PAGE_GAMES: usize = 20;
const PAGE_GAMES_MAX: usize = 100;
/// Games shown with a player.
const LAST_GAMES: usize = 10;
/// Players on the leaderboard.
const LEADERS: usize = 100;

/// The parameters of a query, as they came.
pub(super) type Parameters = HashMap<String, String>;

/// `GET /api/games`: summaries, newest first, a page at a time.
pub(super) async fn find(parameters: Parameters, context: RequestContext) -> Result<Response, HttpError> {
    let (query, limit) = read_query(&parameters)?;
    read(context, Cost::Query, move |archive| {
        let found = archive.find(&query, limit)?;
        let games: Vec<Value> = found.games.iter().map(|game| json!(SummaryJson::from(&**game))).collect();
        Ok(Some(json!({ "games": games, "next_cursor": found.next.map(|id| id.to_string()) })))
    })
    .await
}

/// `GET /api/games/{id}`: the whole game, replayed from its record.
pub(super) async fn game(id: String, context: RequestContext) -> Result<Response, HttpError> {
    read(context, Cost::Ordinary, move |archive| Ok(whole(archive, &id)?.map(|game| json!(game)))).await
}

/// `GET /api/games/{id}/events`: the same as a flat list, for tools.
pub(super) async fn events(id: String, context: RequestContext) -> Result<Response, HttpError> {
    read(context, Cost::Ordinary, move |archive| {
        Ok(whole(archive, &id)?.map(|game| {
            let events: Vec<Value> = tell(&game).into_iter().map(|event| event.json).collect();
            json!({ "game_id": game.game_id, "events": events })
        }))
    })
    .await
}

/// `GET /api/players/{name}`: a player's totals in the archived games.
pub(super) async fn player(name: String, context: RequestContext) -> Result<Response, HttpError> {
    // Segments of a path are not decoded yet.
    let name = percent_decode_str(&name).decode_utf8().map_err(|_| HttpError::NotFound)?.into_owned();
    read(context, Cost::Query, move |archive| {
        let Some(totals) = archive.totals(&name) else {
            return Ok(None);
        };
        let query = Query { player: Some(name.clone()), ..Query::default() };
        let last = archive.find(&query, NonZeroUsize::new(LAST_GAMES).unwrap_or(NonZeroUsize::MIN))?;
        let mut player = describe(&name, &totals);
        let last_games: Vec<Value> = last.games.iter().map(|game| json!(SummaryJson::from(&**game))).collect();
        if let Some(player) = player.as_object_mut() {
            player.insert("last_games".to_owned(), last_games.into());
        }
        Ok(Some(player))
    })
    .await
}

/// `GET /api/leaderboard`: the best players, by the lower bound of their rating.
pub(super) async fn leaderboard(context: RequestContext) -> Result<Response, HttpError> {
    read(context, Cost::Query, |archive| {
        let leaders = archive.leaders(LEADERS);
        let players: Vec<Value> = leaders.iter().map(|(name, totals)| describe(name, totals)).collect();
        Ok(Some(json!({ "players": players })))
    })
    .await
}

/// Reads the archive and answers with the result.
async fn read(
    context: RequestContext,
    cost: Cost,
    query: impl FnOnce(&Archive) -> Result<Option<Value>, ReadError> + Send + 'static,
) -> Result<Response, HttpError> {
    let archive = context.state.services.archive.clone().ok_or(HttpError::NotFound)?;
    if cost != Cost::Ordinary {
        context.state.admit(Kind::Http, context.client.address, cost).await?;
    }
    let read = move || {
        archive.catch_up();
        query(&archive)
    };
    let found = context.state.blocking.run(read).await.map_err(|error| error.to_string());
    let found = found.and_then(|found| found.map_err(|error| error.to_string())).map_err(|error| {
        log::error!("the archive could not be read: {error}");
        HttpError::Internal
    })?;
    ok(&found.ok_or(HttpError::NotFound)?)
}

const NO_TIME: HttpError =
    HttpError::BadRequest("from and to are days like 2026-11-23 or times like 2026-11-23T10:15:00Z");

fn read_query(parameters: &Parameters) -> Result<(Query, NonZeroUsize), HttpError> {
    let mut query = Query::default();
    let mut limit = PAGE_GAMES;
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "player" => query.player = Some(value.clone()),
            "room" => query.room = Some(value.to_ascii_uppercase()),
            "winner" => query.winner = Some(value.clone()),
            "from" => query.from_ms = Some(time_from(value).ok_or(NO_TIME)?),
            "to" => query.to_ms = Some(time_until(value).ok_or(NO_TIME)?),
            "cursor" => {
                let id = value.parse::<GameId>();
                query.before = Some(id.map_err(|_| HttpError::BadRequest("cursor is not one from an earlier answer"))?);
            }
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=PAGE_GAMES_MAX).contains(number));
                limit = number.ok_or(HttpError::BadRequest("limit is a number from 1 to 100"))?;
            }
            _ => {
                return Err(HttpError::BadRequest(
                    "unknown parameter; there are player, room, winner, from, to, limit and cursor",
                ));
            }
        }
    }
    Ok((query, NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN)))
}

fn whole(archive: &Archive, id: &str) -> Result<Option<GameJson>, ReadError> {
    let Ok(id) = id.parse() else { return Ok(None) };
    let Some(record) = archive.get(id)? else { return Ok(None) };
    let told = replay(&record);
    Ok(told
        .inspect_err(|error| log::error!(game = id.to_string(); "an archived game cannot be replayed: {error}"))
        .ok())
}

fn describe(name: &str, totals: &Totals) -> Value {
    json!({
        "name": name,
        "games": totals.games,
        "finished": totals.finished,
        "wins": totals.wins,
        "mean_score": totals.mean_score(),
        "declarations": totals.declarations,
        "declarations_met": totals.met,
        "rating": totals.rating.map(|rating| rating.mean.round()),
        "uncertainty": totals.rating.map(|rating| rating.deviation.round()),
    })
}
