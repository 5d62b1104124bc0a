//! Routes, headers and files, asked for from outside.

use std::fs;
use std::io::{Read as _, Write as _};

use crate::process::{Answer, Server, request};

fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
}

#[test]
fn a_browser_finds_the_page_at_every_place_in_it() {
    let server = Server::start(&[]);
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("<base href=\"/\">"));
    for place in
        ["/lobby", "/room/3FA9C1", "/game/3FA9C1", "/history", "/replay/x?seat=2", "/player/J%C3%B6n", "/leaderboard"]
    {
        let answer = server.get(place);
        assert_eq!((answer.status, &answer.body), (200, &page.body), "{place}");
    }
    let head = server.request("HEAD", "/", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), page.body.len().to_string());
}

#[test]
fn everything_the_page_names_is_there() {
    let server = Server::start(&[]);
    let page = server.get("/");
    let names: Vec<&str> = page.text().split('"').filter(|text| text.starts_with("assets/")).collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let path = format!("/{name}");
        let plain = server.get(&path);
        assert_eq!(plain.status, 200, "{name}");
        assert_eq!(plain.header("cache-control"), "public, max-age=31536000, immutable");
        let packed = server.request("GET", &path, &[("Accept-Encoding", "gzip, deflate, br")]);
        assert_eq!((packed.status, packed.header("vary")), (200, "accept-encoding"));
        let is_packed = packed.header("content-encoding") == "gzip";
        assert_eq!(packed.header("etag") != plain.header("etag"), is_packed, "another form, another tag");
        assert_eq!(packed.body.len() < plain.body.len(), is_packed);
        let again = server.request("GET", &path, &[("If-None-Match", plain.header("etag"))]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{name}");
        assert_eq!(again.header("etag"), plain.header("etag"));
    }
    assert_eq!(server.get("/favicon.ico").header("content-type"), "image/svg+xml");
}

#[test]
fn what_is_not_there_is_a_problem_and_what_can_only_be_read_says_so() {
    let server = Server::start(&[]);
    for path in [
        "/nothing",
        "/room",
        "/room/a/b",
        "/assets/nothing.js",
        "/assets/../mod.rs",
        "/assets/%2e%2e/mod.rs",
        "/api/nothing",
        "/api",
        "/health/x",
    ] {
        assert_problem(&server.get(path), 404);
    }
    for (method, path) in
        [("POST", "/"), ("DELETE", "/assets/main.js"), ("PUT", "/api/health"), ("PATCH", "/health/ready")]
    {
        let answer = server.request(method, path, &[]);
        assert_problem(&answer, 405);
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
}

#[test]
fn every_answer_protects_the_browser() {
    let server = Server::start(&[]);
    for path in ["/", "/admin", "/assets/main.js", "/api/health", "/nothing"] {
        let answer = server.get(path);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!answer.header("x-request-id").is_empty());
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert!(answer.header("permissions-policy").contains("camera=(), "));
        assert_eq!(answer.header("strict-transport-security"), "", "by plain http nobody may say so");
    }
    // What differs from one moment or visitor to the next stays with nobody in between.
    for path in ["/api/health", "/health/ready", "/api/rooms", "/nothing", "/ws/lobby"] {
        assert_eq!(server.get(path).header("cache-control"), "no-store", "{path}");
    }
    assert!(server.get("/").header("content-security-policy").contains("script-src 'self'"));
    assert_eq!(server.request("GET", "/", &[("X-Request-ID", "trace-7")]).header("x-request-id"), "trace-7");
}

#[test]
fn the_page_holds_no_script_of_its_own() {
    let server = Server::start(&[]);
    for place in ["/", "/room/3FA9C1", "/admin"] {
        let page = server.get(place);
        let text = page.text().to_ascii_lowercase();
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{place}");
        let tags: Vec<(&str, &str)> = text.split('<').skip(1).filter_map(|tag| tag.split_once('>')).collect();
        assert!(tags.iter().any(|(tag, _)| tag.starts_with("script ")), "{place}");
        for (tag, inside) in tags {
            let is_handler = |part: &str| part.starts_with("on") && part.contains('=');
            let is_empty_script = tag.contains(" src=") && inside.is_empty();
            assert!(!tag.starts_with("script") || is_empty_script, "{place}: {tag}");
            assert!(
                !tag.starts_with("style") && !tag.contains(" style=") && !tag.contains("javascript:"),
                "{place}: {tag}"
            );
            assert!(!tag.split_whitespace().any(is_handler), "{place}: {tag}");
        }
    }
}

#[test]
fn a_session_comes_with_the_page_and_only_once() {
    let server = Server::start(&[]);
    let cookie = server.get("/").header("set-cookie").to_owned();
    let (session, attributes) = cookie.split_once("; ").unwrap();
    let (secret, _given) = session.strip_prefix("liap_session=").unwrap().split_once('.').unwrap();
    assert_eq!(secret.len(), 32);
    assert_eq!(attributes, "Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax");
    assert_eq!(server.request("GET", "/", &[("Cookie", session)]).header("set-cookie"), "");
    assert_ne!(server.request("GET", "/", &[("Cookie", "liap_session=forged")]).header("set-cookie"), "");
    // As versions before gave it, and as it was given on another day: kept, and for longer.
    for given in ["", ".1"] {
        let again = server.request("GET", "/", &[("Cookie", &format!("liap_session={secret}{given}"))]);
        assert_eq!(again.header("set-cookie"), cookie, "{given}");
    }
    assert_eq!(server.get("/assets/main.js").header("set-cookie"), "");
    assert_eq!(server.get("/").header("cache-control"), "private, no-cache");
}

#[test]
fn behind_a_trusted_proxy_https_and_addresses_are_believed() {
    let trusting = Server::start(&[("TRUSTED_PROXIES", "127.0.0.1"), ("RATE_LIMIT_HTTP_PER_MINUTE", "2")]);
    let ask = |server: &Server, address: &str| {
        server.request("GET", "/", &[("X-Forwarded-Proto", "https"), ("X-Forwarded-For", address)])
    };
    let secure = ask(&trusting, "192.0.2.1");
    assert!(secure.header("set-cookie").ends_with("; Secure"));
    assert_eq!(secure.header("strict-transport-security"), "max-age=15552000");
    assert_eq!(ask(&trusting, "192.0.2.1").status, 200);
    let refused = ask(&trusting, "192.0.2.1");
    assert_problem(&refused, 429);
    assert!((1..=60).contains(&refused.header("retry-after").parse().unwrap()));
    assert!(refused.header("ratelimit").starts_with("\"default\";r=0;t="));
    assert_eq!(ask(&trusting, "192.0.2.2").status, 200, "another client of the same proxy");
    assert_eq!(trusting.get("/health").status, 200, "never limited");

    let suspicious = Server::start(&[("RATE_LIMIT_HTTP_PER_MINUTE", "2")]);
    assert!(!ask(&suspicious, "192.0.2.1").header("set-cookie").contains("Secure"));
    assert_eq!(ask(&suspicious, "192.0.2.2").status, 200);
    assert_problem(&ask(&suspicious, "192.0.2.3"), 429);
}

#[test]
fn a_base_path_works_whether_the_proxy_takes_it_off_or_not() {
    let server = Server::start(&[("BASE_PATH", "/games/liap")]);
    for path in ["/games/liap/", "/games/liap/room/3FA9C1", "/", "/room/3FA9C1"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains("<base href=\"/games/liap/\">"));
        assert!(answer.header("set-cookie").contains("; Path=/games/liap; "));
    }
    let bare = server.get("/games/liap");
    assert_eq!((bare.status, bare.header("location")), (308, "/games/liap/"));
    assert_eq!(server.get("/games/liap/api/health").status, 200);
    assert_problem(&server.get("/games/liapfrog"), 404);
}

#[test]
fn health_is_told_in_three_ways() {
    let server = Server::start(&[]);
    for path in ["/health", "/api/health"] {
        let health = server.get(path);
        assert_eq!((health.status, health.header("cache-control")), (200, "no-store"));
        assert_eq!(health.json()["status"], "healthy");
        assert!(health.json()["checks"].is_object());
    }
    assert_eq!(server.get("/health/live").json()["status"], "alive");
    assert_eq!(server.get("/health/ready").json()["status"], "ready");
}

#[test]
fn metrics_have_a_listener_of_their_own() {
    let server = Server::start(&[]);
    // Said before the address for players, so that has been read already.
    assert_eq!(server.get("/metrics").status, 404);
    let metrics = server.metrics.expect("a listener");
    server.get("/health");
    let scraped = request(metrics, "GET", "/metrics", &[]);
    assert_eq!((scraped.status, scraped.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in ["liap_ready 1", "liap_rooms{phase=\"waiting\"} 0", "liap_health{check=\"archive\"} 0"] {
        assert!(scraped.text().lines().any(|known| known == line), "{line} in {}", scraped.text());
    }
    assert_eq!(request(metrics, "GET", "/", &[]).status, 404);
    assert_eq!(request(metrics, "POST", "/metrics", &[]).status, 405);
    assert!(Server::start(&[("METRICS_ENABLED", "false")]).metrics.is_none());
}

#[test]
fn another_client_is_served_instead() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("img")).unwrap();
    write("index.html", "<script src=\"bundle.js\"></script>");
    write("bundle.js", "play()");
    write("bundle.css", "body{}");
    write("img/tile.png", "png");
    write(".env", "secret");
    fs::write(folder.path().parent().unwrap().join("beside.txt"), "secret").ok();
    let server = Server::start(&[("STATIC_DIR", folder.path().to_str().unwrap())]);

    let page = server.get("/");
    assert_eq!((page.status, page.text()), (200, "<script src=\"bundle.js\"></script>"));
    assert!(page.header("set-cookie").starts_with("liap_session="));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("'unsafe-inline'") && policy.contains("img-src 'self' data:"), "{policy}");

    for (path, kind, cache) in [
        ("/bundle.js", "text/javascript; charset=utf-8", "no-cache, no-store, must-revalidate"),
        ("/bundle.css?v=1", "text/css; charset=utf-8", "no-cache, no-store, must-revalidate"),
        ("/img/tile.png", "image/png", "no-cache"),
    ] {
        let file = server.get(path);
        assert_eq!((file.status, file.header("content-type"), file.header("cache-control")), (200, kind, cache));
        assert!(file.header("last-modified").ends_with(" GMT"));
        let again = server.request("GET", path, &[("If-None-Match", file.header("etag"))]);
        assert_eq!((again.status, again.body.len()), (304, 0));
    }
    for route in ["/lobby", "/room/3FA9C1", "/game/3FA9C1", "/tutorial", "/img"] {
        let answer = server.get(route);
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{route}");
    }
    for hidden in [
        "/.env",
        "/%2eenv",
        "/../beside.txt",
        "/img/../../beside.txt",
        "/..%2fbeside.txt",
        "/nothing.js",
        "/etc/passwd.txt",
    ] {
        assert_problem(&server.get(hidden), 404);
    }
    assert_problem(&server.get("/api/nothing"), 404);
    assert_eq!(server.get("/api/health").status, 200);
}

#[test]
fn one_connection_carries_many_requests() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0);
            bytes.extend_from_slice(&buffer[..read]);
        }
        assert_eq!(Answer::parse(&bytes).status, 200);
    }
}

#[test]
fn a_wrong_start_says_what_is_wrong() {
    let run = |settings: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_liap"));
        let output = command.env_clear().envs(settings.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let server = Server::start(&[]);
    let port = server.address.port().to_string();
    let (code, said) = run(&[("HOST", "127.0.0.1"), ("PORT", &port)]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    let (code, said) = run(&[("STATIC_DIR", "/nowhere"), ("PORT", "0")]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("STATIC_DIR"), "{said}");
}

#[test]
fn a_stopping_server_leaves_with_code_0() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[]);
        server.logged("in a browser to play");
        server.signal(signal);
        assert!(server.ended().success());
    }
}
