use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::socket::{Socket, after, is_state, number_field, text_field};
use super::{Load, LoadError, Report};

/// One table and the people at it.
pub(super) struct Table {
    server: SocketAddr,
    names: Vec<String>,
    sockets: Vec<Socket>,
    report: Report,
    /// What the last state asks for, as the first player sees it.
    next: Option<Next>,
}

impl Table {
    pub(super) async fn set_up(load: &Load, number: usize) -> Result<Self, LoadError> {
        let names = (1..=load.people).map(|seat| format!("Load{number}_{seat}")).collect();
        let mut table = Self { server: load.server, names, sockets: Vec::new(), report: Report::default(), next: None };
        table.open_sockets().await?;
        Ok(table)
    }

    async fn open_sockets(&mut self) -> Result<(), LoadError> {
        self.sockets.clear();
        self.next = None;
        let mut lobby = Socket::open(self.server, "lobby").await?;
        let mut room = String::new();
        for (seat, name) in (1..).zip(&self.names.clone()) {
            let answer = if seat == 1 {
                lobby.send(format!(r#"{{"event":"create_room","data":{{"player_name":"{name}"}}}}"#)).await?;
                lobby.receive_event("room_created").await?
            } else {
                let data = format!(r#"{{"room_id":"{room}","player_name":"{name}"}}"#);
                lobby.send(format!(r#"{{"event":"join_room","data":{data}}}"#)).await?;
                lobby.receive_event("room_joined").await?
            };
            room = text_field(&answer, "\"room_id\":").unwrap_or_default().to_owned();
            let token = text_field(&answer, "\"seat_token\":").unwrap_or_default();
            let mut socket = Socket::open(self.server, &room).await?;
            let data = format!(r#"{{"player_name":"{name}","seat_token":"{token}"}}"#);
            socket.send(format!(r#"{{"event":"client_ready","data":{data}}}"#)).await?;
            socket.receive_event("room_state_update").await?;
            if seat == 1 {
                // Bots make room before other players join: each removal is answered once.
                for seat in 2..=self.names.len() {
                    socket.send(format!(r#"{{"event":"remove_player","data":{{"slot_id":{seat}}}}}"#)).await?;
                    socket.receive_event("room_update").await?;
                }
            }
            self.sockets.push(socket);
        }
        if let Some(host) = self.sockets.first_mut() {
            host.send(r#"{"event":"start_game","data":{}}"#.to_owned()).await?;
        }
        Ok(())
    }

    pub(super) async fn play(mut self, until: Instant) -> Result<Report, LoadError> {
        while Instant::now() < until {
            match self.wait_for_next().await? {
                Next::Act { seat, message } => self.act(seat, message).await?,
                Next::NewGame => {
                    self.report.games += 1;
                    self.open_sockets().await?;
                }
            }
        }
        Ok(self.report)
    }

    /// Sends an action and waits for the state that follows, at the actor and at all others.
    async fn act(&mut self, actor: usize, message: String) -> Result<(), LoadError> {
        let sent = Instant::now();
        let Some(socket) = self.sockets.get_mut(actor) else { return Ok(()) };
        let target = socket.states + 1;
        socket.send(message).await?;
        let mut to_self = Duration::ZERO;
        // The actor first, because it waits for its answer.
        let order = std::iter::once(actor).chain((0..self.sockets.len()).filter(|&other| other != actor));
        for seat in order.collect::<Vec<_>>() {
            let mut last = None;
            while self.states(seat) < target {
                last = self.receive(seat).await?;
            }
            if seat == actor {
                to_self = sent.elapsed();
            }
            if seat == 0
                && let Some(text) = last
            {
                self.note_next(&text);
            }
        }
        self.report.actions += 1;
        self.report.to_self.push(to_self);
        self.report.to_last.push(sent.elapsed());
        Ok(())
    }

    /// Receives until a state asks for something, at every socket.
    async fn wait_for_next(&mut self) -> Result<Next, LoadError> {
        loop {
            let Some(next) = self.next.take() else {
                match self.receive(0).await? {
                    Some(text) => self.note_next(&text),
                    None => return Ok(Next::NewGame),
                }
                continue;
            };
            for seat in 1..self.sockets.len() {
                while self.states(seat) < self.states(0) {
                    self.receive(seat).await?;
                }
            }
            return Ok(next);
        }
    }

    /// The states that the socket of a seat has received.
    fn states(&self, seat: usize) -> u64 {
        self.sockets.get(seat).map_or(0, |socket| socket.states)
    }

    /// Receives a frame for a seat and counts it; `None` without such a seat.
    async fn receive(&mut self, seat: usize) -> Result<Option<Utf8Bytes>, LoadError> {
        let Some(socket) = self.sockets.get_mut(seat) else { return Ok(None) };
        let text = socket.receive().await?;
        self.report.frames += 1;
        self.report.bytes += text.len() as u64;
        Ok(Some(text))
    }

    /// Notes what this state asks for, as the first player sees it.
    fn note_next(&mut self, text: &str) {
        if is_state(text) {
            self.next = Next::in_state(&self.names, text);
        }
    }
}

/// What a state asks for.
pub(super) enum Next {
    /// A player has to send this message.
    Act { seat: usize, message: String },
    /// The game is over.
    NewGame,
}

impl Next {
    /// What this state asks of these people, if it asks one of them for something.
    pub(super) fn in_state(names: &[String], state: &str) -> Option<Self> {
        let data = after(state, "\"phase_data\":")?;
        let person = |name: Option<&str>| names.iter().position(|own| Some(own.as_str()) == name);
        let (seat, event, fields) = match text_field(state, "\"phase\":")? {
            "preparation" => {
                let awaited = after(data, "\"weak_players_awaiting\":[").and_then(|list| list.split(']').next());
                let mut names = awaited.unwrap_or_default().split(',').map(|name| Some(name.trim_matches('"')));
                (names.find_map(person)?, "decline_redeal", String::new())
            }
            "declaration" => {
                let seat = person(text_field(data, "\"current_declarer\":"))?;
                let sum = number_field(data, "\"declaration_total\":").unwrap_or(0);
                (seat, "declare", format!("\"value\":{},", if sum == 7 { 2 } else { 1 }))
            }
            "turn" if data.matches("\"piece_count\":").count() < 4 => {
                let seat = person(text_field(data, "\"current_player\":"))?;
                let count = number_field(data, "\"required_piece_count\":").unwrap_or(1);
                let indices = (0..count).map(|index| index.to_string()).collect::<Vec<_>>().join(",");
                (seat, "play", format!("\"piece_indices\":[{indices}],\"play_value\":0,"))
            }
            "game_over" => return Some(Self::NewGame),
            _ => return None,
        };
        let name = names.get(seat)?;
        let message = format!(r#"{{"event":"{event}","data":{{{fields}"player_name":"{name}"}}}}"#);
        Some(Self::Act { seat, message })
    }
}
