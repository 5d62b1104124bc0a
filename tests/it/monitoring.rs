use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use liap::observe::Metrics;
use serde_json::Value;

use crate::address::own_address;
use crate::disk;
use crate::process::Server;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).unwrap()
}

fn scrape() -> String {
    Metrics::new("1.0", "test", true).render()
}

/// Every series name a scrape really shows, with the values of each of its labels.
fn series() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let text = scrape();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = series.entry(name.to_owned()).or_default();
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        for pair in inside.split(',').filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once('=').unwrap();
            labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    series
}

#[test]
fn the_document_names_those_alerts_that_wake_somebody() {
    let rules = read("alerts.yml");
    let alerts = rules.split("- alert: ").skip(1);
    let waking: Vec<&str> =
        alerts.filter(|rule| rule.contains("severity: page")).map(|rule| rule.lines().next().unwrap()).collect();
    let document = std::fs::read_to_string(folder().join("../docs/operations.md")).unwrap();
    let named = document.split("`page`:").nth(1).unwrap().split("The others").next().unwrap();
    let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, waking);
}

/// A metric in a query, with the values it demands of its labels.
struct Mention {
    name: String,
    labels: Vec<(String, Vec<String>)>,
}

/// The metrics a text of queries mentions.
fn mentioned(text: &str) -> Vec<Mention> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let word = &rest[start..];
        let (word, after) = word.split_at(word.find(|char| !is_word(char)).unwrap_or(word.len()));
        rest = after;
        if word.starts_with("liap_") || word.starts_with("process_") {
            let selector =
                after.strip_prefix('{').and_then(|after| after.split_once('}')).map_or("", |(inside, _)| inside);
            let labels = selector.split(", ").filter_map(|matcher| {
                let (label, value) = matcher.split_once('=')?;
                let values = value.trim_start_matches('~').trim_matches(['"', '\'']).split('|').map(str::to_owned);
                Some((label.trim_end_matches('!').to_owned(), values.collect()))
            });
            found.push(Mention { name: word.to_owned(), labels: labels.collect() });
        }
    }
    found
}

/// Labels that Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

fn hold_against_the_registry(source: &str, text: &str) -> usize {
    let series = series();
    let found = mentioned(text);
    for Mention { name, labels } in &found {
        let known = series.get(name).unwrap_or_else(|| panic!("{source}: there is no {name}"));
        for (label, values) in labels.iter().filter(|(label, _)| !ADDED.contains(&label.as_str())) {
            let known = known.get(label).unwrap_or_else(|| panic!("{source}: {name} has no label {label}"));
            // Buckets of made-up histories are few.
            for value in values {
                assert!(known.contains(value), "{source}: {name} is never {label}={value:?}, but {known:?}");
            }
        }
    }
    found.len()
}

#[test]
fn alerts_ask_for_metrics_that_exist() {
    let expressions: Vec<String> =
        read("alerts.yml").lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_owned)).collect();
    assert!(expressions.len() >= 15, "{expressions:?}");
    assert!(hold_against_the_registry("alerts.yml", &expressions.join("\n")) >= expressions.len() - 1);
    let histories: Vec<String> =
        read("alerts.test.yml").lines().filter(|line| line.contains("series:")).map(str::to_owned).collect();
    assert!(hold_against_the_registry("alerts.test.yml", &histories.join("\n")) >= 30);
}

#[test]
fn every_alert_has_a_test() {
    let (rules, tests) = (read("alerts.yml"), read("alerts.test.yml"));
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(tests.contains(&fires), "no test sees {name} fire");
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_none_that_is_not_there() {
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboards/liap.json")).unwrap();
    let mut shown = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap_or(&Vec::new()) {
            let expression = target["expr"].as_str().unwrap();
            let only_the_instance_varies = expression.replace("instance=~\"$instance\"", "");
            let source = panel["title"].as_str().unwrap();
            hold_against_the_registry(source, &only_the_instance_varies.replace("{, ", "{"));
            shown.extend(mentioned(expression).into_iter().map(|mention| mention.name));
            assert_eq!(target["datasource"]["uid"], "liap-prometheus", "{source}");
        }
    }
    let scraped = Metrics::new("test", "test", true).render();
    let metrics = scraped.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    for metric in metrics.filter(|metric| *metric != "liap_info") {
        assert!(shown.iter().any(|name| name.starts_with(metric)), "{metric} is on no panel");
    }
    assert!(read("grafana/datasources/prometheus.yml").contains("uid: liap-prometheus"));
}

/// Starts a program of Prometheus. Where it is not installed the checks above still hold.
fn prometheus_program(program: &str, arguments: &[&str]) -> Option<Child> {
    let child = Command::new(program)
        .args(arguments)
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    assert!(child.is_ok() || std::env::var_os("CI").is_none(), "{program} is needed: apt-get install prometheus");
    if child.is_err() {
        eprintln!("{program} is not installed; not asked: {}", arguments.join(" "));
    }
    child.ok()
}

fn promtool(arguments: &[&str], input: &str) {
    let Some(mut child) = prometheus_program("promtool", arguments) else { return };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}:\n{}", String::from_utf8_lossy(&said));
}

#[test]
fn prometheus_agrees_with_rules_histories_and_names() {
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["test", "rules", "alerts.test.yml"], "");
    promtool(&["check", "metrics"], &scrape());
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The alerts a Prometheus is firing, and for which server; none while it does not answer.
fn firing(prometheus: SocketAddr) -> BTreeSet<(String, String)> {
    let mut answer = String::new();
    let asked = TcpStream::connect(prometheus).and_then(|mut stream| {
        stream.write_all(b"GET /api/v1/alerts HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let (Ok(_), Ok(body)) = (asked, serde_json::from_str::<Value>(body)) else { return BTreeSet::new() };
    let alerts = body["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let firing = alerts.into_iter().filter(|alert| alert["state"] == "firing");
    let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap().to_owned();
    firing.map(|alert| (label(&alert, "alertname"), label(&alert, "instance"))).collect()
}

/// One server has less memory than it needs, the other plays games that cannot be stored; a third is well.
#[test]
#[cfg(target_os = "linux")]
fn a_real_prometheus_scrapes_servers_in_trouble_and_fires() {
    let prometheus = SocketAddr::from((own_address(), 9_090));
    let [tight, full, well] =
        [&[("MAX_MEMORY_MB", "16"), ("MEMORY_CHECK_INTERVAL", "1")] as &[_], &disk::SETTINGS, &[]].map(Server::start);
    let instance = |server: &Server| server.metrics.unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The same files, in haste: no alert has to hold for minutes, and seconds stand for quarters of a minute.
    let rules: String = read("alerts.yml")
        .lines()
        .filter(|line| !line.trim().starts_with("for:"))
        .flat_map(|line| [line, "\n"])
        .collect();
    file("alerts.yml", &rules);
    let targets = [&tight, &full, &well].map(instance).join("\", \"");
    let config = read("prometheus.yml").replace("15s", "1s").replace("backend:9090", &targets);
    assert!(config.contains(&targets), "{config}");
    let config = file("prometheus.yml", &config);
    let started = prometheus_program(
        "prometheus",
        &[
            &format!("--config.file={config}"),
            &format!("--web.listen-address={prometheus}"),
            &format!("--storage.tsdb.path={}", home.path().join("data").display()),
            "--log.level=error",
        ],
    );
    let Some(_running) = started.map(Running) else { return };
    disk::limit_files(&full, "0");
    disk::play(&full);

    let expected = BTreeSet::from([
        ("LiapMemoryTight".to_owned(), instance(&tight)),
        ("LiapMemoryCritical".to_owned(), instance(&tight)),
        ("LiapArchiveFailing".to_owned(), instance(&full)),
        ("LiapJournalFailing".to_owned(), instance(&full)),
    ]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = BTreeSet::new();
    while !expected.is_subset(&seen) {
        assert!(Instant::now() < deadline, "only {seen:?} fire, not all of {expected:?}");
        std::thread::sleep(Duration::from_millis(200));
        seen = firing(prometheus);
    }
    assert!(seen.iter().all(|(_, server)| *server != instance(&well)), "{seen:?}");
}
