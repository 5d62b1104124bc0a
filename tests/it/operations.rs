//! `docs/operations.md` is true: its commands parse, its endpoints answer, its names exist.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser as _;
use liap::cli::Cli;
use liap::config::SETTINGS;
use liap::observe::Metrics;

use crate::process::{Answer, Server, room};

const TOKEN: &str = "d7a1c2f3940b5e6877665544";

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn operations() -> String {
    fs::read_to_string(in_repository("docs/operations.md")).unwrap()
}

/// Every command of the document, in words as a shell makes them of it, without comments.
fn commands() -> Vec<Vec<String>> {
    let document = operations();
    let mut commands = Vec::new();
    for block in document.split("```sh\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        for command in block.lines().flat_map(|line| split(line, ';')) {
            let words = words(&command);
            if !words.is_empty() {
                commands.push(words);
            }
        }
    }
    assert!(commands.len() > 30, "{commands:?}");
    commands
}

/// Splits where a shell would: outside quotes.
fn split(text: &str, at: char) -> Vec<String> {
    let (mut parts, mut quote) = (vec![String::new()], None);
    for character in text.chars() {
        match quote {
            None if character == at => {
                parts.push(String::new());
                continue;
            }
            None if character == '#' && parts.last().unwrap().ends_with([' ', '\u{0}']) => break,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ => {}
        }
        parts.last_mut().unwrap().push(character);
    }
    parts
}

fn words(command: &str) -> Vec<String> {
    let bare = |word: String| word.replace(['"', '\''], "");
    // The quotes of JSON are part of it.
    let bare = |word: String| if word.starts_with("'{") { word.trim_matches('\'').to_owned() } else { bare(word) };
    split(command.trim(), ' ').into_iter().map(bare).filter(|word| !word.is_empty()).collect()
}

#[test]
fn its_commands_are_understood() {
    let mut seen = 0;
    for words in commands() {
        // Settings before a command.
        let words: Vec<&String> = words.iter().skip_while(|word| word.contains('=') && !word.contains('/')).collect();
        if words.first().is_some_and(|word| *word == "liap") {
            seen += 1;
            let parsed = Cli::try_parse_from(&words);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        } else if let Some(script) = words.first().filter(|word| word.starts_with("scripts/")) {
            assert!(in_repository(script).is_file(), "{script}");
        }
    }
    assert!(seen > 12, "{seen} commands of ours");
}

#[tokio::test]
async fn its_endpoints_answer() {
    let server = Server::start(&[("ADMIN_TOKEN", TOKEN)]);
    let (id, _table, _) = room(&server, "Mira").await;
    let mut seen = BTreeSet::new();
    for words in commands().iter().filter(|words| words[0] == "curl") {
        let option = |name: &str| Some(words.get(words.iter().position(|word| word == name)? + 1)?.as_str());
        let url = words.iter().find(|word| word.starts_with("localhost:")).unwrap_or_else(|| panic!("{words:?}"));
        let (host, path) = url.split_at(url.find('/').unwrap());
        let path = path.replace("3FA9C1", &id);
        let address = if host == "localhost:9090" { server.metrics.unwrap() } else { server.address };
        let body = option("-d").unwrap_or_default();
        let method = option("-X").unwrap_or("GET");
        let header = option("-H").unwrap_or_default().replace("$ADMIN_TOKEN", TOKEN);
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        if !header.is_empty() {
            request += &format!("{header}\r\n");
        }
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(format!("{request}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let answer = Answer::parse(&bytes);
        assert_eq!(answer.status, 200, "{words:?}: {answer:?}");
        seen.insert(format!("{method} {}", path.split('?').next().unwrap()));
    }
    for endpoint in
        ["GET /health", "GET /metrics", "POST /admin/archive/flush", "PUT /admin/log-level", "DELETE /admin/drain"]
    {
        assert!(seen.contains(endpoint), "{endpoint} in {seen:?}");
    }
}

/// Every name in the document that is written like this.
fn names(is_part: impl Fn(char) -> bool, is_name: impl Fn(&str) -> bool) -> BTreeSet<String> {
    operations().split(|c| !is_part(c)).filter(|name| is_name(name)).map(str::to_owned).collect()
}

#[test]
fn its_settings_metrics_and_alerts_exist() {
    let settings: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    let written = names(|c| c.is_ascii_uppercase() || c == '_', |name| name.contains('_') && name.len() > 4);
    assert!(written.len() > 15, "{written:?}");
    for name in &written {
        let known = settings.contains(name.as_str()) || settings.contains(name.trim_end_matches("_FILE"));
        // Two are read by other hands: the one that finds settings, and redis-cli.
        assert!(known || name == "LIAP_CONFIG" || name == "REDISCLI_AUTH", "{name} is no setting");
    }

    let scraped = Metrics::new("test", "test", true).render();
    let metrics: BTreeSet<&str> =
        scraped.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let is_metric = |name: &str| (name.starts_with("liap_") || name.starts_with("process_")) && name.len() > 5;
    let written = names(|c| c.is_ascii_lowercase() || c == '_', is_metric);
    assert!(written.len() > 10, "{written:?}");
    for name in written {
        assert!(metrics.contains(name.as_str()), "{name} is no metric");
    }

    let alerts = fs::read_to_string(in_repository("monitoring/alerts.yml")).unwrap();
    let written = names(|c| c.is_ascii_alphabetic(), |name| name.starts_with("Liap") && name.len() > 4);
    assert!(written.len() > 4, "{written:?}");
    for name in written {
        assert!(alerts.contains(&format!("alert: {name}\n")), "{name} is no alert");
    }
}

#[test]
fn its_groups_are_those_of_the_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_liap"));
    doctor.args(["doctor", "--json"]).current_dir(folder.path()).env_clear().env("PORT", "0").env("METRICS_PORT", "0");
    let report: serde_json::Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    let document = operations();
    for finding in report["checks"].as_array().unwrap() {
        let group = finding["group"].as_str().unwrap();
        assert!(document.contains(&format!("| {group} |")), "{group}");
    }
}

#[test]
fn its_links_lead_somewhere() {
    let document = operations();
    let links = document.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0);
    for link in links {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let text = match file {
            "" => document.clone(),
            file => fs::read_to_string(in_repository("docs").join(file)).unwrap_or_else(|_| panic!("{file}")),
        };
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        let mut anchors = headings.map(|heading| heading.to_lowercase().replace(' ', "-").replace([',', '?'], ""));
        assert!(anchor.is_empty() || anchors.any(|known| known == anchor), "{link}");
    }
}
