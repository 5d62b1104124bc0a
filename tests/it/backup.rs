use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::process::{Server, room};

const LIAP: &str = env!("CARGO_BIN_EXE_liap");

/// Runs the script, away from the settings of whoever runs the tests.
fn backup(environment: &[(&str, &Path)], arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/backup");
    Command::new(script)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("LIAP_BIN", LIAP)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn liap(data: &Path, arguments: &[&str]) -> String {
    let output = Command::new(LIAP).args(arguments).env_clear().env("DATA_DIR", data).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// A data folder with twenty games.
fn with_games() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let games = data.path().join("games.jsonl");
    let games = games.to_str().unwrap();
    liap(data.path(), &["simulate", "--games", "20", "--seed", "9", "--json", games]);
    liap(data.path(), &["archive", "import", games]);
    data
}

/// The backups in a folder, oldest first.
fn backups(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("liap-"))
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn games_and_live_tables_come_back_from_a_backup_made_while_the_server_ran() {
    // Games of a series are of the year 2026, so the server must not find them too old.
    let server = Server::start_on(with_games(), &[("ARCHIVE_RETENTION_DAYS", "0")]);
    let (id, _table, _) = room(&server, "Mira").await;
    // A room is in the journal a tenth of a second after it was opened.
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let deadline = std::time::Instant::now() + super::process::SOON;
    let restored = loop {
        let output = backup(&[("DATA_DIR", server.data())], &[to]);
        assert!(output.status.success(), "{}", said(&output));
        let newest = backups(folder.path()).pop().unwrap();
        let sums = Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(&newest).output();
        let sums = sums.unwrap();
        assert!(sums.status.success(), "{}", said(&sums));

        let data = tempfile::tempdir().unwrap();
        let games = newest.join("games.liap");
        assert!(liap(data.path(), &["archive", "restore", games.to_str().unwrap()]).contains("20 games restored"));
        let copied = Command::new("cp").arg("-r").arg(newest.join("journal")).arg(data.path()).status().unwrap();
        assert!(copied.success());
        let restored = Server::start_on(data, &[("ARCHIVE_RETENTION_DAYS", "0")]);
        if restored.get("/api/rooms").text().contains(&id) {
            break restored;
        }
        assert!(std::time::Instant::now() < deadline, "the room is in no backup");
    };
    let ids = |server: &Server| server.get("/api/games?limit=100").json()["games"].as_array().unwrap().len();
    assert_eq!((ids(&server), ids(&restored)), (20, 20));
}

#[test]
fn the_program_is_found_on_the_path() {
    let data = with_games();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(LIAP, data.path().join("liap")).unwrap();
    let path = format!("{}:{}", data.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/backup"))
        .arg(folder.path())
        .env_clear()
        .env("PATH", path)
        .env("DATA_DIR", data.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(backups(folder.path()).len(), 1);
}

#[test]
fn old_backups_go_and_others_stay() {
    let data = with_games();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    for day in 1..=4 {
        let old = folder.path().join(format!("liap-2026-01-0{day}T040000Z"));
        fs::create_dir(&old).unwrap();
        fs::write(old.join("SHA256SUMS"), "made earlier").unwrap();
    }
    // None of ours, or not finished: neither counted nor removed.
    for other in ["liap-notes", "photos", "liap-2026-01-09T040000Z"] {
        fs::create_dir(folder.path().join(other)).unwrap();
    }
    let output = backup(&[("DATA_DIR", data.path())], &["--keep", "2", to]);
    assert!(output.status.success(), "{}", said(&output));
    let names: Vec<OsString> = backups(folder.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(&"liap-2026-01-04T040000Z".into()), "{names:?}");
    assert!(names.contains(&"liap-2026-01-09T040000Z".into()), "{names:?}");
    assert!(folder.path().join("photos").exists());
}

#[test]
fn what_was_not_written_whole_is_no_backup() {
    let data = with_games();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let program = data.path().join("cut");
    // The program as it is, but its disk, or its network, loses the end.
    fs::write(&program, format!("#!/bin/sh\n{LIAP} \"$@\" | head -c 2000\n")).unwrap();
    Command::new("chmod").arg("755").arg(&program).status().unwrap();
    let output = backup(&[("DATA_DIR", data.path()), ("LIAP_BIN", &program)], &[to]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("not written whole"), "{}", said(&output));
    assert!(backups(folder.path()).is_empty());
    assert!(!folder.path().join(".part").exists());
}

#[test]
fn a_server_in_a_container_is_backed_up_from_outside() {
    let data = with_games();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("backups");
    let tools = folder.path().join("bin");
    fs::create_dir(&tools).unwrap();
    // Does in this data folder what compose would do in the container's.
    let docker = format!(
        "#!/bin/sh\n\
         [ \"$1 $2 $3\" = 'compose --file prod.yml' ] || exit 9\n\
         case \"$4 $5 $6\" in\n\
         'exec --no-TTY liap') shift 7; DATA_DIR={data} exec {LIAP} \"$@\" ;;\n\
         'cp liap:/data/journal '*) mkdir -p {data}/journal && cp -r {data}/journal \"$6\" ;;\n\
         *) exit 9 ;;\n\
         esac\n",
        data = data.path().display(),
    );
    fs::write(tools.join("docker"), docker).unwrap();
    Command::new("chmod").arg("755").arg(tools.join("docker")).status().unwrap();
    let mut path = tools.into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let arguments = ["--compose", "prod.yml", to.to_str().unwrap()];
    let output = backup(&[("PATH", Path::new(&path)), ("LIAP_BIN", Path::new("/none"))], &arguments);
    assert!(output.status.success(), "{}", said(&output));
    let back = tempfile::tempdir().unwrap();
    let games = backups(&to)[0].join("games.liap");
    assert!(liap(back.path(), &["archive", "restore", games.to_str().unwrap()]).contains("20 games restored"));
}

#[test]
fn it_is_told_what_to_do() {
    for arguments in [&[] as &[&str], &["one", "two"], &["--keep", "0", "one"], &["--keep"], &["--none", "one"]] {
        assert_eq!(backup(&[], arguments).status.code(), Some(64), "{arguments:?}");
    }
}

/// A mended fault: the second did not find a name, and said so.
#[test]
fn two_backups_within_a_second_are_two() {
    let data = with_games();
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = backup(&[("DATA_DIR", data.path())], &[folder.path().to_str().unwrap()]);
        assert!(output.status.success(), "{}", said(&output));
    }
    assert_eq!(backups(folder.path()).len(), 2);
}
