//! A bucket in memory that holds whatever it is told to, such as names that no folder can have, and fails as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::server::url_at;

/// The bucket.
#[derive(Debug)]
pub(super) struct Stub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// Objects that can be listed and not be read, as those in an archive of glaciers.
    pub(super) frozen: BTreeSet<String>,
    /// So many requests are answered with "slow down" first.
    pub(super) failures: usize,
    /// Nobody may do anything.
    pub(super) is_closed: bool,
    /// Nobody may list.
    pub(super) lists_closed: bool,
    pub(super) lists: usize,
}

impl Stub {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                // Who breaks off gets no answer.
                std::thread::spawn(move || answer(&client, &shared).unwrap_or_default());
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self, prefix: &str) -> String {
        url_at(self.address, prefix)
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn put(&self, keys: impl IntoIterator<Item = String>) {
        self.state().objects.extend(keys.into_iter().map(|key| (key, Vec::new())));
    }
}

fn answer(mut client: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let (mut line, mut length, mut creates) = (String::new(), 0, false);
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let method = line.split(' ').next().unwrap_or_default().to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "if-none-match" => creates = value == "*",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, body) = state.lock().unwrap().answer(&method, &target, body, creates);
    let head = "last-modified: Wed, 25 Nov 2026 00:00:00 GMT\r\netag: \"0\"\r\nconnection: close";
    write!(client, "HTTP/1.1 {status} -\r\ncontent-length: {}\r\n{head}\r\n\r\n", body.len())?;
    client.write_all(&body)
}

impl State {
    fn answer(&mut self, method: &str, target: &str, body: Vec<u8>, creates: bool) -> (u16, Vec<u8>) {
        let error = |status, code: &str| (status, format!("<Error><Code>{code}</Code></Error>").into_bytes());
        if self.failures > 0 {
            self.failures -= 1;
            return error(503, "SlowDown");
        }
        if self.is_closed {
            return error(403, "AccessDenied");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let key = path.splitn(3, '/').nth(2).unwrap_or_default().to_owned();
        match method {
            "GET" if query.contains("list-type=2") && self.lists_closed => error(403, "AccessDenied"),
            "GET" if query.contains("list-type=2") => (200, self.list(query).into_bytes()),
            "GET" if self.frozen.contains(&key) => error(403, "InvalidObjectState"),
            "GET" => self.objects.get(&key).map_or_else(|| error(404, "NoSuchKey"), |body| (200, body.clone())),
            "PUT" if creates && self.objects.contains_key(&key) => error(412, "PreconditionFailed"),
            "PUT" => {
                self.objects.insert(key, body);
                (200, Vec::new())
            }
            "POST" if query.starts_with("delete") => (200, self.delete(&String::from_utf8_lossy(&body)).into_bytes()),
            _ => error(501, "NotImplemented"),
        }
    }

    fn delete(&mut self, body: &str) -> String {
        let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next());
        let mut text = String::from("<DeleteResult>");
        for key in keys {
            self.objects.remove(key);
            write!(text, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
        }
        text + "</DeleteResult>"
    }

    fn list(&mut self, query: &str) -> String {
        self.lists += 1;
        let asked = |name: &str| {
            let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
            value.map(|(_, value)| value.replace("%2F", "/"))
        };
        let prefix = asked("prefix").unwrap_or_default();
        let after = asked("continuation-token").or_else(|| asked("start-after")).unwrap_or_default();
        let most: usize = asked("max-keys").map_or(1000, |most| most.parse().unwrap());
        let mut keys = self.objects.keys().filter(|key| key.starts_with(&prefix) && **key > after);
        let page: Vec<&String> = keys.by_ref().take(most).collect();
        let mut text = String::from("<ListBucketResult>");
        for key in &page {
            let rest = "<LastModified>2026-11-25T00:00:00.000Z</LastModified><ETag>0</ETag><Size>0</Size>";
            write!(text, "<Contents><Key>{key}</Key>{rest}</Contents>").unwrap();
        }
        if let (Some(last), Some(_)) = (page.last(), keys.next()) {
            write!(text, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
        }
        text + "</ListBucketResult>"
    }
}
