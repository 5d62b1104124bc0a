//! `liap simulate`, `liap verify-deal` and `liap archive`, as a person runs them.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use liap::archive::{GameId, GameRecord, IfMissing, Options, PutOutcome, Query, Records, encode};

use crate::process::{SOON, Server};

/// Simulated games are of January 2026, so no server must find them too old.
const KEEP_ALL: (&str, &str) = ("ARCHIVE_RETENTION_DAYS", "0");

/// Runs the program in a folder, away from the settings of whoever runs the tests.
fn liap(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_liap")).args(arguments).current_dir(folder).env_clear().output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = liap(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = liap(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

/// A folder with thirty games in `games.jsonl` and in the archive of `one`.
fn with_games() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    succeeds(path, &["simulate", "--games", "30", "--seed", "4", "--rotate", "--json", "games.jsonl"]);
    assert!(succeeds(path, &["--data-dir", "one", "archive", "import", "games.jsonl"]).contains("30 games imported"));
    folder
}

#[test]
fn games_go_round_and_come_back_the_same() {
    let folder = with_games();
    let path = folder.path();
    succeeds(path, &["--data-dir", "one", "archive", "export", "again.jsonl"]);
    assert!(read(path, "again.jsonl") == read(path, "games.jsonl"), "export gives what was imported");
    let said = succeeds(path, &["--data-dir", "one", "archive", "import", "again.jsonl"]);
    assert!(said.contains("0 games imported, 30 were there already"), "{said}");

    succeeds(path, &["--data-dir", "one", "archive", "backup", "backup"]);
    succeeds(path, &["--data-dir", "two", "archive", "restore", "backup"]);
    succeeds(path, &["--data-dir", "two", "archive", "backup", "backup2"]);
    assert!(read(path, "backup") == read(path, "backup2"), "a restored archive has the same games");
    assert!(fails(path, &["--data-dir", "two", "archive", "restore", "backup"]).contains("games in"));
    let said = succeeds(path, &["--data-dir", "two", "archive", "verify", "--deep"]);
    assert!(said.contains("30 games dealt and played again, 0 wrong, 0 missing"), "{said}");
    assert!(succeeds(path, &["verify-deal", "games.jsonl"]).lines().all(|line| line.contains(": yes, ")));
}

#[test]
fn games_are_written_into_a_pipe_as_it_is() {
    let folder = with_games();
    let path = folder.path();
    let pipe = path.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn(move || std::fs::read(pipe).unwrap());
    succeeds(path, &["--data-dir", "one", "archive", "export", "pipe"]);
    assert!(reader.join().unwrap() == read(path, "games.jsonl"));
}

#[test]
fn games_are_listed_and_shown() {
    let folder = with_games();
    let path = folder.path();
    let archive = |arguments: &[&str]| succeeds(path, &[&["--data-dir", "one", "archive"], arguments].concat());
    let lines = String::from_utf8(read(path, "games.jsonl")).unwrap();
    let newest = lines.lines().last().unwrap();
    let value: serde_json::Value = serde_json::from_str(newest).unwrap();
    let id = value["game_id"].as_str().unwrap();
    let (room, winner) = (value["room_id"].as_str().unwrap(), value["winner_name"].as_str().unwrap());

    let listed: Vec<String> = archive(&["list", "--limit", "4", "--json"]).lines().map(str::to_owned).collect();
    assert_eq!(listed.len(), 4);
    assert!(listed[0].contains(id));
    assert!(archive(&["list", "--room", room, "--winner", winner]).contains(id));
    assert_eq!(archive(&["list", "--player", "Bot 5", "--json"]), "");
    assert_eq!(archive(&["list", "--to", "2025-12-31", "--json"]), "");
    assert_eq!(
        archive(&["list", "--from", "2026-01-01", "--to", "2026-01-01", "--limit", "99", "--json"]).lines().count(),
        30
    );
    assert_eq!(archive(&["show", id]).trim_end(), newest);
    let replay = archive(&["replay", id, "--seat", "2"]);
    assert!(replay.contains("Round 1: the deal") && replay.contains(&format!("{winner} (normal bot) has won")));
    assert!(archive(&["stats"]).contains("30 won, 0 abandoned"));
    assert!(fails(path, &["--data-dir", "one", "archive", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]).contains("no game"));
    assert!(fails(path, &["--data-dir", "none", "archive", "list"]).contains("there is no archive in none"));
}

/// What a command says and how it ends.
fn outcome(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = liap(folder, arguments);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A data folder with so many games, and another with the same as JSON lines in `games.jsonl`.
fn data_with_games(games: u32) -> (tempfile::TempDir, tempfile::TempDir) {
    let (data, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let games = games.to_string();
    succeeds(work.path(), &["simulate", "--games", &games, "--seed", "4", "--rotate", "--json", "games.jsonl"]);
    let data_dir = data.path().to_str().unwrap();
    succeeds(work.path(), &["--data-dir", data_dir, "archive", "import", "games.jsonl"]);
    (data, work)
}

#[test]
fn commands_say_the_same_beside_a_running_server_and_without_one() {
    let (data, work) = data_with_games(30);
    let work = work.path();
    let games = String::from_utf8(read(work, "games.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(games.lines().next().unwrap()).unwrap();
    let (id, room) = (first["game_id"].as_str().unwrap(), first["room_id"].as_str().unwrap());
    let commands: [&[&str]; 14] = [
        &["list", "--limit", "7"],
        &["list", "--room", room, "--json"],
        &["list", "--from", "2026-01-01", "--player", "Bot 2", "--limit", "3"],
        &["list", "--to", "2025-12-31", "--json"],
        &["show", id],
        &["show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"],
        &["replay", id, "--seat", "2"],
        &["stats"],
        &["export", "-"],
        &["export", "--room", room, "-"],
        &["import", "games.jsonl"],
        &["verify"],
        &["backup", "-"],
        &["prune", "--older-than", "1d", "--dry-run"],
    ];
    let data_dir = data.path().to_str().unwrap().to_owned();
    let all = || commands.map(|command| outcome(work, &[&["--data-dir", &data_dir, "archive"], command].concat()));
    let without = all();
    let server = Server::start_on(data, &[KEEP_ALL]);
    for ((command, without), with) in commands.iter().zip(&without).zip(&all()) {
        assert!(with == without, "{command:?}: {with:?} instead of {without:?}");
    }
    drop(server);
}

#[test]
fn games_are_stored_restored_and_removed_beside_a_running_server() {
    let (_, work) = data_with_games(30);
    let work = work.path();
    let server = Server::start(&[KEEP_ALL]);
    let data_dir = server.data().to_str().unwrap().to_owned();
    let archive = |arguments: &[&str]| succeeds(work, &[&["--data-dir", &data_dir, "archive"], arguments].concat());
    assert!(archive(&["import", "games.jsonl"]).contains("30 games imported, 0 were there already, 0 refused"));
    archive(&["export", "again.jsonl"]);
    assert!(read(work, "again.jsonl") == read(work, "games.jsonl"));
    assert_eq!(server.get("/api/games?limit=100").json()["games"].as_array().unwrap().len(), 30, "players see them");
    archive(&["backup", "backup"]);
    let refused = fails(work, &["--data-dir", &data_dir, "archive", "restore", "backup"]);
    assert!(refused.contains("there are games in "), "{refused}");
    assert!(archive(&["prune", "--older-than", "1d"]).starts_with("30 games removed"));
    assert!(archive(&["verify", "--deep"]).starts_with("0 games"));
    assert!(archive(&["restore", "backup"]).contains("30 games restored"));
    archive(&["backup", "backup2"]);
    assert!(read(work, "backup") == read(work, "backup2"));

    // A server that was killed leaves its socket: commands open the archive then, and the next server replaces it.
    let whole = "30 games dealt and played again, 0 wrong, 0 missing";
    let mut server = server;
    server.signal("KILL");
    server.ended();
    assert!(socket(server.data()).exists());
    assert!(archive(&["verify", "--deep"]).starts_with(whole));
    let mut server = server.again();
    assert!(archive(&["verify", "--deep"]).starts_with(whole));
    server.signal("TERM");
    assert!(server.ended().success());
    assert!(!socket(server.data()).exists(), "a server that stops removes its socket");
    assert!(archive(&["verify", "--deep"]).starts_with(whole));
}

fn socket(data: &Path) -> PathBuf {
    data.join("archive/control")
}

#[test]
fn a_data_folder_may_have_a_longer_name_than_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&data).unwrap();
    let server = Server::start(&[("DATA_DIR", data.to_str().unwrap())]);
    assert!(socket(&data).exists());
    let said = succeeds(folder.path(), &["--data-dir", data.to_str().unwrap(), "archive", "verify"]);
    assert!(said.contains("0 games read"), "{said}");
    drop(server);
}

#[test]
fn the_socket_is_for_the_servers_own_user() {
    let server = Server::start(&[]);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let socket = socket(server.data());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // Only root can be somebody else.
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).args(arguments).env_clear();
        command.current_dir("/").output()
    };
    let liap = env!("CARGO_BIN_EXE_liap");
    if !nobody(&[liap, "--version"]).is_ok_and(|output| output.status.success()) {
        return;
    }
    mode(server.data(), 0o755);
    mode(&server.data().join("archive"), 0o755);
    let stats = [liap, "--data-dir", server.data().to_str().unwrap(), "archive", "stats"];
    let refused = nobody(&stats).unwrap();
    assert!(!refused.status.success() && said(&refused).contains("for the server's own user"), "{refused:?}");
    // Whatever its mode has become, strangers are told nothing.
    mode(&socket, 0o666);
    let refused = nobody(&stats).unwrap();
    assert!(!refused.status.success() && said(&refused).contains("only the server's own user may ask"), "{refused:?}");
}

#[test]
fn nonsense_on_the_socket_harms_nothing() {
    let server = Server::start(&[]);
    let data_dir = server.data().to_str().unwrap().to_owned();
    let verify = || outcome(Path::new("/"), &["--data-dir", &data_dir, "archive", "verify"]);
    let connect = || {
        let mut stream = UnixStream::connect(socket(server.data())).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        frame(&mut stream);
        stream
    };
    // What is no request gets an answer that says so.
    let mut stream = connect();
    stream.write_all(b"\x04\0\0\0\xff\xff\xff\xff").unwrap();
    assert!(String::from_utf8_lossy(&frame(&mut stream)).contains("cannot be understood"));
    // What is too long, or an HTTP request, ends the conversation.
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = connect();
        stream.write_all(nonsense).unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    }
    // Half of a request waits for its other half and holds up nobody.
    let mut half = connect();
    half.write_all(b"\x10\0\0\0half").unwrap();
    assert_eq!(verify().0, Some(0));
    // More than eight at once are refused, and come in again when the others have gone.
    let others: Vec<UnixStream> = (0..6).map(|_| connect()).collect();
    let (code, _, refusal) = verify();
    assert!(code == Some(1) && refusal.contains("8 commands are at work already"), "{refusal}");
    drop((stream, half, others));
    let deadline = std::time::Instant::now() + SOON;
    while verify().0 != Some(0) {
        assert!(std::time::Instant::now() < deadline, "places become free");
    }
    assert_eq!(server.get("/health").json()["status"], "healthy");
}

/// Reads one frame.
fn frame(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_server_of_another_version_gets_no_requests() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("archive")).unwrap();
    let listener = UnixListener::bind(socket(folder.path())).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // MessagePack: {"protocol": 99, "liap": "9.1.0", "refusal": nil, "more": true}
        let hello = b"\x84\xa8protocol\x63\xa4liap\xa59.1.0\xa7refusal\xc0\xa4more\xc3";
        stream.write_all(&[&u32::try_from(hello.len()).unwrap().to_le_bytes(), &hello[..]].concat()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap()
    });
    let refusal = fails(folder.path(), &["--data-dir", ".", "archive", "stats"]);
    assert!(refusal.contains("the running server is liap 9.1.0") && refusal.contains("same version"), "{refusal}");
    assert_eq!(server.join().unwrap(), 0, "nothing was asked");
}

#[test]
fn what_a_killed_server_has_acknowledged_is_there() {
    let (_, work) = data_with_games(400);
    let games = String::from_utf8(read(work.path(), "games.jsonl")).unwrap();
    let records: Vec<(GameId, serde_bytes::ByteBuf)> = games
        .lines()
        .map(|line| GameRecord::from_json(line).unwrap())
        .map(|record| (record.game_id, encode(&record).unwrap().into()))
        .collect();
    let server = Server::start(&[KEEP_ALL]);
    let folder = server.data().join("archive");
    let pid = server.pid().to_string();
    let client = Records::open(&folder, &Options::default(), IfMissing::Fail).unwrap();
    assert!(matches!(client, Records::Server(_)));
    let mut acknowledged = Vec::new();
    for group in records.chunks(7) {
        // In the middle: one more group is on its way when the server is killed.
        let killer = (acknowledged.len() > 150).then(|| Command::new("kill").args(["-KILL", &pid]).spawn().unwrap());
        let put = client.put(group.to_vec());
        if let Ok(outcomes) = &put {
            assert!(outcomes.iter().all(|outcome| *outcome == PutOutcome::Stored), "{outcomes:?}");
            acknowledged.extend(group.iter().map(|(id, _)| *id));
        }
        if let Some(mut killer) = killer {
            killer.wait().unwrap();
        }
        if put.is_err() {
            break;
        }
    }
    assert!(acknowledged.len() > 150 && acknowledged.len() < records.len(), "{}", acknowledged.len());
    let server = server.again();
    let client = Records::open(&folder, &Options::default(), IfMissing::Fail).unwrap();
    assert!(client.get(&acknowledged).unwrap().iter().all(|found| matches!(found, Ok(Some(_)))));
    // What was not acknowledged is put once more, with all the rest.
    assert_eq!(client.put(records.clone()).unwrap().len(), 400);
    assert_eq!(client.ids(&Query::default(), usize::MAX).unwrap().len(), 400);
    drop(server);
}

#[test]
fn an_archive_that_another_process_holds_is_not_opened() {
    let (data, work) = data_with_games(3);
    let holder = crate::archive::open(&data.path().join("archive"));
    let arguments = ["--data-dir", data.path().to_str().unwrap(), "archive", "stats"];
    let refusal = fails(work.path(), &arguments);
    assert!(refusal.contains(&format!("is in use by process {}", std::process::id())), "{refusal}");
    assert!(refusal.contains("answers no commands"), "{refusal}");
    drop(holder);
    succeeds(work.path(), &arguments);
}

/// A line is judged as the wire would judge it, under its right number, and told without harm to a terminal.
#[test]
fn what_no_table_could_have_is_not_imported() {
    let folder = with_games();
    let path = folder.path();
    let lines = String::from_utf8(read(path, "games.jsonl")).unwrap();
    let line = lines.lines().next().unwrap();
    let named = |name: &str| {
        let name = format!("\"name\":{}", serde_json::to_string(name).unwrap());
        line.replacen("\"name\":\"Bot 1\"", &name, 1)
            .replace("\"winner_name\":\"Bot 1\"", &name.replacen("name", "winner_name", 1))
    };
    let room = |room: &str| {
        line.replacen(
            &line[line.find("\"room_id\":").unwrap()..][..18],
            &format!("\"room_id\":{}", serde_json::to_string(room).unwrap()),
            1,
        )
    };
    assert!(named("Mira") != line && room("3FA9C1") != line);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (named("").into(), "the name of seat 1 cannot be empty"),
        (named("Mira\u{1b}[2J").into(), "the name of seat 1 contains invalid characters"),
        (named(" Mira").into(), "the name of seat 1 begins or ends with a blank"),
        (named("Bot 3").into(), "seat 3 has the name of seat 1"),
        (named(&"M".repeat(1 << 20)).into(), "the name of seat 1 too long"),
        (room("").into(), "room_id: a room id is six hexadecimal digits"),
        (room("3FA9C1\u{7}").into(), "room_id: a room id is six hexadecimal digits"),
        (room("3fa9c1").into(), "room_id: it is written 3FA9C1"),
        ([named("Mi").into_bytes(), vec![0xFF]].concat(), "it is not UTF-8"),
        (vec![b'x'; (32 << 20) + 5], "it has 33554438 bytes, at most 33554432 are read"),
        (line.replacen("\"format\":1", "\"\u{9b}2J\":1", 1).into(), "unknown field `\\u{9b}2J`"),
        (named("Mira").into(), ""),
    ];
    let mut file = Vec::new();
    for (bytes, _) in &cases {
        // An empty line counts as well.
        file.extend([bytes, &b"\n\n"[..]].concat());
    }
    std::fs::write(path.join("odd.jsonl"), file).unwrap();
    let (code, out, said) = outcome(path, &["--data-dir", "three", "archive", "import", "odd.jsonl"]);
    assert_eq!((code, &*out), (Some(1), "1 games imported, 0 were there already, 11 refused\n"), "{said}");
    let told: Vec<&str> = said.lines().collect();
    for (number, (_, reason)) in (0..).zip(&cases).filter(|(_, (_, reason))| !reason.is_empty()) {
        let begin = format!("liap: line {} is refused: {reason}", 2 * number + 1);
        assert!(told[number].starts_with(&begin), "{begin}: {}", told[number].chars().take(300).collect::<String>());
    }
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
}

/// What root restores belongs to the service that is to open it.
#[test]
#[cfg(target_os = "linux")]
fn what_root_restores_belongs_to_the_owner_of_the_data_folder() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let folder = with_games();
    let path = folder.path();
    succeeds(path, &["--data-dir", "one", "archive", "backup", "backup"]);
    std::fs::create_dir(path.join("two")).unwrap();
    if chown(path.join("two"), Some(1234), Some(1235)).is_err() {
        eprintln!("not run: only root can give files away");
        return;
    }
    let said = succeeds(path, &["--data-dir", "two", "archive", "restore", "backup"]);
    assert!(said.contains("its files are given to user 1234"), "{said}");
    assert!(said.contains("30 games restored, SHA-256 "), "{said}");
    let mut folders = vec![path.join("two")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (1234, 1235), "{entry:?}");
            seen += 1;
            folders.extend(metadata.is_dir().then(|| entry.path()));
        }
    }
    assert!(seen > 5);
}

#[test]
fn what_was_altered_or_damaged_is_told() {
    let folder = with_games();
    let path = folder.path();
    let lines = String::from_utf8(read(path, "games.jsonl")).unwrap();
    let altered: Vec<String> = lines
        .lines()
        .enumerate()
        .map(
            |(number, line)| {
                if number == 6 { line.replacen("\"captured\":[", "\"captured\":[1", 1) } else { line.to_owned() }
            },
        )
        .collect();
    std::fs::write(path.join("altered.jsonl"), altered.join("\n")).unwrap();
    let said = fails(path, &["--data-dir", "two", "archive", "import", "altered.jsonl"]);
    assert!(
        said.contains("line 7 is refused: rounds[0].captured[0] is ") && said.contains("29 games imported"),
        "{said}"
    );

    let seed = altered[3].find("\"server_seed\":\"").unwrap() + 20;
    let mut dealt = altered[3].clone();
    dealt.replace_range(seed..=seed, if dealt[seed..].starts_with('0') { "1" } else { "0" });
    std::fs::write(path.join("dealt.json"), dealt).unwrap();
    assert!(fails(path, &["verify-deal", "dealt.json"]).contains(": no, the seed's commitment is "));

    succeeds(path, &["--data-dir", "one", "archive", "backup", "backup"]);
    let mut backup = read(path, "backup");
    let middle = backup.len() / 2;
    backup[middle] ^= 1;
    std::fs::write(path.join("backup"), &backup).unwrap();
    assert!(fails(path, &["--data-dir", "three", "archive", "restore", "backup"]).contains("cannot be restored"));
    assert!(!path.join("three").exists(), "nothing was begun");

    crate::store::spoil_a_game(&path.join("one/archive"));
    let said = fails(path, &["--data-dir", "one", "archive", "verify"]);
    assert!(said.contains("1 acknowledged games are missing"), "{said}");
    assert!(said.contains("29 games read, 0 wrong, 1 missing"), "{said}");
}
