//! Several servers, one Redis, one proxy: a room is on one of them and within reach from all.
#![cfg(feature = "redis")]

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::address::own_address;
use crate::process::{FAST, Server, Socket, journaled, request};
use crate::services::{RedisServer, program, until, until_async};

/// Where each server and each proxy listens, at an address of its own.
const PORT: u16 = 8_000;

/// Three servers with the digits 0, 1 and 2.
struct House {
    servers: Vec<Option<Server>>,
    redis: RedisServer,
}

impl House {
    fn open() -> Option<Self> {
        let redis = RedisServer::start(&[])?;
        let url = redis.url();
        let start = |number: usize| {
            Some(Server::start(&[
                FAST,
                ("HOST", &own_address().to_string()),
                ("PORT", &PORT.to_string()),
                ("INSTANCE_ID", &number.to_string()),
                ("REDIS_URL", &url),
                ("REDIS_TIMEOUT_MS", "500"),
                ("TRUSTED_PROXIES", "127.0.0.1"),
                ("LOG_LEVEL", "debug"),
            ]))
        };
        let house = Self { servers: (0..3).map(start).collect(), redis };
        house.all_see(3);
        Some(house)
    }

    fn server(&self, number: usize) -> &Server {
        self.servers[number].as_ref().unwrap()
    }

    fn alive(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().flatten()
    }

    fn check(server: &Server) -> Value {
        server.get("/health").json()["checks"]["instances"].clone()
    }

    /// Waits until every server that is alive sees so many.
    fn all_see(&self, count: u64) {
        let sees = |server: &Server| Self::check(server)["alive"] == count;
        until(&format!("all see {count}"), || self.alive().all(sees));
    }

    fn kill(&mut self, number: usize) -> Server {
        let server = self.servers[number].take().unwrap();
        server.signal("KILL");
        server
    }
}

/// The rooms that a server lists.
fn listed(server: &Server) -> Vec<String> {
    let rooms = server.get("/api/rooms").json()["rooms"].clone();
    rooms.as_array().unwrap().iter().map(|room| room["room_id"].as_str().unwrap().to_owned()).collect()
}

/// A proxy in front of the house, as the folder `config` sets it up. It is killed when dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Proxy {
    /// The example file with the addresses of this house.
    fn example(house: &House, name: &str, own: SocketAddr) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let mut text = std::fs::read_to_string(path).unwrap().replace("127.0.0.1:8080", &own.to_string());
        for (number, server) in house.alive().enumerate() {
            text = text.replace(&format!("127.0.0.1:{}", 8_000 + number), &server.address.to_string());
        }
        text
    }

    fn nginx(house: &House) -> Option<Self> {
        let program = program("LIAP_TEST_NGINX")?;
        let (folder, own) = (tempfile::tempdir().unwrap(), SocketAddr::from((own_address(), PORT)));
        let home = folder.path().display();
        let example = Self::example(house, "nginx-instances.conf", own);
        let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {home}/{kind};\n"))
            .concat();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {home}/pid;\nerror_log {home}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{folders}{example}}}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let mut command = Command::new(program);
        command.arg("-p").arg(folder.path()).arg("-c").arg("nginx.conf").arg("-e").arg(folder.path().join("error.log"));
        Some(Self::run(command, folder, own))
    }

    fn caddy(house: &House) -> Option<Self> {
        let program = program("LIAP_TEST_CADDY")?;
        let (folder, own) = (tempfile::tempdir().unwrap(), SocketAddr::from((own_address(), PORT)));
        let text = Self::example(house, "Caddyfile-instances", own);
        // It would listen at every address.
        let options = format!("{{\n\tadmin off\n\tdefault_bind {}\n}}\n", own.ip());
        std::fs::write(folder.path().join("Caddyfile"), options + &text).unwrap();
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(folder.path().join("Caddyfile")).arg("--adapter").arg("caddyfile");
        command.env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        Some(Self::run(command, folder, own))
    }

    fn run(mut command: Command, folder: tempfile::TempDir, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let proxy = Self { child, address, _folder: folder };
        until("a proxy that listens", || TcpStream::connect(proxy.address).is_ok());
        proxy
    }

    async fn open(&self, place: &str, cookie: &str) -> Result<Socket, u16> {
        Socket::open_at(self.address, place, &[("Cookie", cookie)]).await
    }

    /// A lobby and the session it comes with.
    async fn lobby(&self) -> (Socket, String) {
        let lobby = Socket::open_at(self.address, "lobby", &[]).await.unwrap();
        let session = session(&lobby);
        (lobby, session)
    }
}

fn session(socket: &Socket) -> String {
    socket.cookie.as_ref().unwrap().split(';').next().unwrap().to_owned()
}

/// Opens a room on this server, frees a seat, and gives back its id, its host's session and his socket, which goes
/// through the proxy.
async fn room_with_a_free_seat(proxy: &Proxy, server: &Server) -> (String, String, Socket) {
    let mut lobby = Socket::open(server, "lobby").await;
    lobby.say("create_room", json!({ "player_name": "Mira" })).await;
    let id = lobby.hear("room_created").await["room_id"].as_str().unwrap().to_owned();
    let session = session(&lobby);
    let mut table = proxy.open(&id, &session).await.unwrap();
    table.enter(&id, "Mira").await;
    table.hear("room_update").await;
    table.say("remove_player", json!({ "slot_id": 2 })).await;
    table.hear("room_update").await;
    (id, session, table)
}

/// Says it in the lobby until the answer is this one.
async fn join(lobby: &mut Socket, id: &str, name: &str) -> (String, Value) {
    lobby.say("join_room", json!({ "room_id": id, "player_name": name })).await;
    loop {
        let (event, data) = lobby.hear_any().await;
        if event != "room_list_update" {
            return (event, data);
        }
    }
}

/// Plays until the declarations, where nobody changes his weak hand; gives back the hand of the guest.
async fn hand_of(guest: &mut Socket, host: &mut Socket) -> Value {
    loop {
        let state = guest.hear("phase_change").await;
        let awaited = state["phase_data"]["weak_players_awaiting"].as_array();
        let weak = |name| awaited.is_some_and(|awaited| awaited.contains(&json!(name)));
        for (table, name) in [(&mut *guest, "Jon"), (&mut *host, "Mira")] {
            if weak(name) {
                table.say("decline_redeal", json!({ "player_name": name })).await;
            }
        }
        if state["phase"] == "declaration" {
            return state["players"]["Jon"]["hand"].clone();
        }
    }
}

/// What players live through, whatever the proxy.
async fn story(house: &mut House, proxy: &Proxy) {
    // Every server has its own digit, and all of them list all rooms.
    let mut rooms = Vec::new();
    for number in 0..3 {
        let room = room_with_a_free_seat(proxy, house.server(number)).await;
        assert!(room.0.starts_with(&number.to_string()), "{}", room.0);
        rooms.push(room);
    }
    let lists_all = |server: &Server| {
        let listed = listed(server);
        listed.len() == 3 && rooms.iter().all(|(id, ..)| listed.contains(id))
    };
    until("all list all rooms", || house.alive().all(lists_all));

    // Somebody in the lobby of another server takes a seat, and it is his behind the proxy.
    let (mut lobby, jon) = proxy.lobby().await;
    lobby.say("client_ready", json!({ "room_id": "lobby" })).await;
    let shown = lobby.hear("room_list_update").await["rooms"].as_array().unwrap().len();
    assert_eq!(shown, 3, "the lobby shows them too");
    let mut foreign = Socket::open_with(house.server(2), "lobby", &[("Cookie", &jon)]).await.unwrap();
    let (id, mira, host) = &mut rooms[1];
    let (event, joined) = join(&mut foreign, id, "Jon").await;
    assert_eq!((event.as_str(), joined["assigned_slot"].as_u64()), ("room_joined", Some(1)), "{joined}");
    let mut guest = proxy.open(id, &jon).await.unwrap();
    guest.enter(id, "Jon").await;
    assert_eq!(guest.hear("room_update").await["players"][1]["name"], "Jon");
    for (id, name, message) in
        [(id.as_str(), "Ann", "Room is full"), ("2FFFFF", "Ann", "Room not found"), ("0FFFFF", "Ann", "Room not found")]
    {
        let (event, error) = join(&mut foreign, id, name).await;
        assert_eq!((event.as_str(), error["message"].as_str()), ("error", Some(message)), "{id}");
    }

    // A stranger with the name alone gets no seat: what counts is the session, as on one server.
    let mut stranger = proxy.open(id, "liap_session=00000000000000000000000000000000").await.unwrap();
    stranger.enter(id, "Jon").await;
    host.say("start_game", json!({})).await;
    let hand = hand_of(&mut guest, host).await;
    assert_eq!(hand.as_array().unwrap().len(), 8);
    let seen = stranger.hear("phase_change").await;
    assert!(seen["players"]["Jon"]["hand"].as_array().is_none_or(Vec::is_empty), "{seen}");

    // The wrong door says so; no client is told that its room is gone.
    assert_eq!(Socket::open_with(house.server(0), id, &[("Cookie", &jon)]).await.err(), Some(421));

    // One that dies takes its own rooms away and no others.
    journaled(house.server(1), &mut guest).await;
    let (id, mira) = (id.clone(), mira.clone());
    let dead = house.kill(1);
    house.all_see(2);
    until("its rooms are gone, the others are not", || house.alive().all(|server| listed(server).len() == 2));
    let code = proxy.open(&id, &jon).await.err();
    assert_eq!(code, Some(502));

    // Nobody's room is answered as ever, once nobody can be on his way any more.
    until_async("a room of nobody", async || Socket::open_with(house.server(2), "AFFFFF", &[]).await.is_ok()).await;
    let (event, error) = join(&mut foreign, "AFFFFF", "Ann").await;
    assert_eq!((event.as_str(), error["message"].as_str()), ("error", Some("Room not found")));
    assert_eq!(Socket::open_with(house.server(0), &id, &[("Cookie", &jon)]).await.err(), Some(503));
    for _ in 0..6 {
        assert_eq!(request(proxy.address, "GET", "/api/rooms", &[]).status, 200, "everything else goes on");
    }
    let (mut lobby, _) = proxy.lobby().await;
    lobby.say("get_rooms", json!({})).await;
    lobby.hear("room_list_update").await;

    // It comes back, and its games with it.
    house.servers[1] = Some(dead.again());
    house.all_see(3);
    let mut back = None;
    until_async("the proxy finds it again", async || {
        back = proxy.open(&id, &jon).await.ok();
        back.is_some()
    })
    .await;
    let mut back = back.unwrap();
    back.enter(&id, "Jon").await;
    assert_eq!(back.hear("phase_change").await["players"]["Jon"]["hand"], hand);
    let mut host = proxy.open(&id, &mira).await.unwrap();
    host.enter(&id, "Mira").await;
    host.hear("phase_change").await;

    // Without Redis each goes on alone and says so.
    house.redis.kill();
    until("all are alone", || {
        house.alive().all(|server| House::check(server)["status"] == "degraded")
            && listed(house.server(0)) == [rooms[0].0.clone()]
            && listed(house.server(2)) == [rooms[2].0.clone()]
    });
    back.say("ping", json!({ "timestamp": 1 })).await;
    back.hear("pong").await;
    let mut lobby = Socket::open(house.server(2), "lobby").await;
    let (event, error) = join(&mut lobby, &rooms[0].0, "Ann").await;
    assert_eq!(event, "error");
    assert!(error["message"].as_str().unwrap().contains("cannot be reached"), "{error}");
    let (event, _) = join(&mut lobby, &rooms[2].0, "Ann").await;
    assert_eq!(event, "room_joined", "its own rooms are there as ever");
    assert_eq!(Socket::open_with(house.server(2), &rooms[0].0, &[]).await.err(), Some(503));
    house.redis.start_again();
    house.all_see(3);
    until("all list all rooms again", || listed(house.server(2)).contains(&rooms[0].0));

    // One that is stopped says so before it goes.
    house.server(0).signal("TERM");
    until("it is missed at once", || !listed(house.server(2)).contains(&rooms[0].0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_behind_nginx_are_one_house() {
    let Some(mut house) = House::open() else { return };
    let Some(proxy) = Proxy::nginx(&house) else { return };
    story(&mut house, &proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_behind_caddy_are_one_house() {
    let Some(mut house) = House::open() else { return };
    let Some(proxy) = Proxy::caddy(&house) else { return };
    story(&mut house, &proxy).await;
}

#[tokio::test]
async fn servers_with_names_of_their_own_send_pages_to_each_other() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let url = redis.url();
    let start = |id: &str| {
        let host = own_address().to_string();
        let own = format!("http://{host}:{PORT}");
        let server = Server::start(&[
            ("HOST", &host),
            ("PORT", &PORT.to_string()),
            ("INSTANCE_ID", id),
            ("INSTANCE_URL", &own),
            ("REDIS_URL", &url),
            ("REDIS_TIMEOUT_MS", "500"),
        ]);
        (server, own)
    };
    let ((a, a_url), (b, _)) = (start("A"), start("B"));
    until("they see each other", || [&a, &b].iter().all(|server| House::check(server)["alive"] == 2));
    for place in ["room", "game"] {
        let answer = b.get(&format!("/{place}/A12345"));
        assert_eq!((answer.status, answer.header("location")), (307, format!("{a_url}/{place}/A12345").as_str()));
        for here in [a.get(&format!("/{place}/a12345")), b.get(&format!("/{place}/B12345"))] {
            assert_eq!(here.status, 200);
        }
    }
    assert_eq!(b.get("/room/C12345").status, 200, "nobody's");

    // Two under one digit notice each other.
    let (_twin, _) = start("A");
    until("a double is told of", || {
        let check = House::check(&a);
        check["status"] == "degraded" && check["message"].as_str().unwrap().contains("INSTANCE_ID A too")
    });
    assert_eq!(a.get("/health").status, 200);
}

/// Two houses on one Redis, each in a database of its own, with the same digits.
#[tokio::test]
async fn houses_in_other_databases_are_not_heard() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let start = |id: &str, database: u8| {
        let url = format!("{}/{database}", redis.url());
        Server::start(&[FAST, ("INSTANCE_ID", id), ("REDIS_URL", &url), ("REDIS_TIMEOUT_MS", "500")])
    };
    let (first, second, stranger) = (start("0", 0), start("1", 0), start("1", 1));
    until("the house is whole", || [&first, &second].iter().all(|server| House::check(server)["alive"] == 2));
    until("the stranger listens", || redis.say("PUBSUB CHANNELS liap:1:*").contains("liap:1:to:1"));
    assert_eq!(House::check(&stranger)["alive"], 1);
    second.signal("KILL");
    let mut lobby = Socket::open(&first, "lobby").await;
    let (event, error) = join(&mut lobby, "1FFFFF", "Ann").await;
    assert_eq!(event, "error");
    assert!(error["message"].as_str().unwrap().contains("cannot be reached"), "a stranger has answered: {error}");
}

/// After a start of the machine one of them is the first. The clients of the others must not hear that their rooms are
/// gone, which would make them forget games that are about to come back.
#[tokio::test]
async fn a_server_that_is_not_there_yet_is_not_nobody() {
    let Some(mut redis) = RedisServer::start(&[]) else { return };
    let url = redis.url();
    let start = |id: &str| Server::start(&[("INSTANCE_ID", id), ("REDIS_URL", &url), ("REDIS_TIMEOUT_MS", "500")]);
    let first = start("A");
    let knock = async |room: &str| Socket::open_with(&first, room, &[]).await.err();
    let has_looked = |redis: &RedisServer| redis.say("EXISTS liap:instance:A").contains(":1");
    until("the first is there", || has_looked(&redis));
    assert_eq!(knock("B12345").await, Some(503));
    let _second = start("B");
    until_async("the second is there", async || knock("B12345").await == Some(421)).await;
    until_async("nobody else comes", async || knock("C12345").await.is_none()).await;

    // The same where Redis has forgotten who was there.
    redis.kill();
    until("Redis is missed", || House::check(&first)["status"] == "degraded");
    assert_eq!(knock("C12345").await, Some(503));
    redis.start_again();
    until("the first is there again", || has_looked(&redis));
    assert_eq!(knock("C12345").await, Some(503));
    let _third = start("C");
    until_async("the third is there", async || knock("C12345").await == Some(421)).await;
}
