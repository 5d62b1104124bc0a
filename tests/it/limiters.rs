//! One suite that every limiter passes, and what happens to the shared one when its Redis does not do well.

use std::time::{Duration, Instant};

use liap::limit::{Cost, Key, Kind, Limiter, MemoryLimiter, Options, Verdict};

/// A key nobody else has.
fn fresh() -> Key {
    Key::from_text(&tempfile::tempdir().unwrap().path().display().to_string())
}

fn options() -> Options {
    Options { player_per_minute: 60, http_per_minute: 60, ..Options::default() }
}

/// How often in a row the same is allowed.
async fn allowed(limiter: &dyn Limiter, kind: Kind, key: Key, cost: Cost) -> u32 {
    let mut count = 0;
    while count < 1_000 && limiter.check(kind, key, cost).await.is_allowed() {
        count += 1;
    }
    count
}

/// How many units a bucket that fills at one a second may have given since `begun`.
fn at_most(bucket: u32, begun: Instant) -> u32 {
    bucket + u32::try_from(begun.elapsed().as_secs()).unwrap()
}

/// What every limiter keeps to. Its player and its address have 60 units a minute.
async fn suite(limiter: &dyn Limiter) {
    // A minute's worth at once, and then one a second.
    let (key, begun) = (fresh(), Instant::now());
    let count = allowed(limiter, Kind::Player, key, Cost::Ordinary).await;
    assert!((60..=at_most(60, begun)).contains(&count), "{count}");
    let Verdict::Denied { retry_after } = limiter.check(Kind::Player, key, Cost::Ordinary).await else {
        panic!("the bucket is empty");
    };
    assert!(retry_after <= Duration::from_secs(1) && retry_after > Duration::ZERO, "{retry_after:?}");

    // Who is refused pays nothing: it is not later because somebody is impatient.
    for _ in 0..50 {
        limiter.check(Kind::Player, key, Cost::CreateRoom).await;
    }
    tokio::time::sleep(retry_after + Duration::from_millis(50)).await;
    assert!(limiter.check(Kind::Player, key, Cost::Ordinary).await.is_allowed());

    // Others are not concerned, be it another key or the same key for another kind.
    assert!(limiter.check(Kind::Player, fresh(), Cost::Ordinary).await.is_allowed());
    assert!(limiter.check(Kind::Http, key, Cost::Ordinary).await.is_allowed());

    // Dear things take more of the bucket.
    for (cost, left) in [(Cost::Ordinary, 59), (Cost::Query, 58), (Cost::CreateRoom, 50)] {
        let (key, begun) = (fresh(), Instant::now());
        assert!(limiter.check(Kind::Player, key, cost).await.is_allowed());
        let count = allowed(limiter, Kind::Player, key, Cost::Ordinary).await;
        assert!((left..=at_most(left, begun)).contains(&count), "{count} after {cost:?}");
    }
    let (key, begun) = (fresh(), Instant::now());
    let rooms = allowed(limiter, Kind::Http, key, Cost::CreateRoom).await;
    assert!(rooms == 6 || begun.elapsed() > Duration::from_secs(5), "{rooms}");
    // 10 are not there yet, but 1 may be soon.
    let refused = limiter.check(Kind::Http, key, Cost::CreateRoom).await;
    assert!(matches!(refused, Verdict::Denied { retry_after } if retry_after > Duration::from_secs(1)), "{refused:?}");

    // The kinds have the sizes they are said to have.
    for kind in [Kind::Room, Kind::Socket, Kind::NewSocket] {
        let quota = limiter.quota(kind);
        let (key, begun) = (fresh(), Instant::now());
        let count = allowed(limiter, kind, key, Cost::Ordinary).await;
        let rate = f64::from(quota.burst.get()) / quota.window.as_secs_f64();
        let most = f64::from(quota.burst.get()) + rate * begun.elapsed().as_secs_f64() + 1.0;
        assert!(count >= quota.burst.get() && f64::from(count) <= most, "{kind:?}: {count}");
    }

    // Many at once get no more than one.
    let (key, begun) = (fresh(), Instant::now());
    let asked = (0..200).map(|_| limiter.check(Kind::Player, key, Cost::Ordinary));
    let count = futures_util::future::join_all(asked).await.into_iter().filter(|verdict| verdict.is_allowed()).count();
    assert!((60..=at_most(60, begun) as usize).contains(&count), "{count}");
}

/// Something dearer than the whole bucket is possible at times.
async fn a_small_bucket(limiter: &dyn Limiter) {
    let key = fresh();
    assert_eq!(allowed(limiter, Kind::Player, key, Cost::CreateRoom).await, 1);
    assert!(!limiter.check(Kind::Player, key, Cost::Ordinary).await.is_allowed());
}

#[tokio::test]
async fn the_limiter_of_the_process_keeps_to_the_suite() {
    suite(&MemoryLimiter::new(&options())).await;
    a_small_bucket(&MemoryLimiter::new(&Options { player_per_minute: 1, ..options() })).await;
}

#[cfg(feature = "redis")]
mod shared {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use futures_util::future::Either;
    use liap::limit::RedisLimiter;
    use liap::observe::{HealthStatus, Metrics};
    use liap::redis::{self, Redis};

    use super::*;
    use crate::process::{SOON, Server, request};
    use crate::services::{RedisServer, until, until_async};

    /// Longer than a real server takes on a busy machine: what is tested here is not how fast it is.
    const PATIENT: Duration = Duration::from_secs(1);

    /// A limiter as one server has it.
    struct Instance {
        limiter: RedisLimiter,
        redis: Redis,
        metrics: Arc<Metrics>,
    }

    impl Instance {
        fn with(options: &redis::Options) -> Self {
            let metrics = Arc::new(Metrics::new("test", "test", false));
            let redis = redis::open(options, &metrics).unwrap().unwrap();
            let limiter = RedisLimiter::new(&super::options(), redis.clone(), Arc::clone(&metrics));
            Self { limiter, redis, metrics }
        }

        fn at(url: &str, timeout: Duration) -> Self {
            Self::with(&redis::Options { url: url.parse().unwrap(), timeout, ..redis::Options::default() })
        }

        async fn is(self, up: bool) -> Self {
            self.becomes(up).await;
            self
        }

        async fn becomes(&self, up: bool) {
            until_async(if up { "Redis is back" } else { "Redis is down" }, async || {
                // Somebody has to ask, or nobody notices soon.
                self.limiter.check(Kind::Player, Key::from_number(1), Cost::Ordinary).await;
                self.redis.is_up() == up
            })
            .await;
        }

        fn decided(&self, how: &str) -> u64 {
            self.metrics.redis_decisions.with(how).get()
        }

        /// Goes on by itself, without waiting at all, and says so.
        async fn goes_on_alone(&self) {
            self.becomes(false).await;
            let (key, away, begun) = (fresh(), self.decided("away"), Instant::now());
            let mut count = 0;
            for _ in 0..100 {
                let decision = self.limiter.check(Kind::Player, key, Cost::Ordinary);
                assert!(matches!(decision, Either::Left(_)), "nobody waits");
                count += u32::from(decision.await.is_allowed());
            }
            assert!((60..=at_most(60, begun)).contains(&count), "{count} by itself");
            assert_eq!(self.decided("away") - away, 100);
            let check = self.redis.check();
            assert_eq!(check.status, HealthStatus::Degraded);
            assert!(check.message.unwrap().contains("goes on by itself"));
            assert_eq!(self.metrics.redis_up.get(), 0);
        }

        /// Shares again, by itself.
        async fn comes_back(&self) {
            self.becomes(true).await;
            assert_eq!(self.redis.check().status, HealthStatus::Healthy);
            assert_eq!(self.metrics.redis_up.get(), 1);
            let shared = self.decided("shared");
            assert!(self.limiter.check(Kind::Player, fresh(), Cost::Ordinary).await.is_allowed());
            assert_eq!(self.decided("shared") - shared, 1);
        }
    }

    #[tokio::test]
    async fn the_limiter_in_redis_keeps_to_the_suite() {
        let Some(server) = RedisServer::start(&[]) else { return };
        let instance = Instance::at(&server.url(), PATIENT).is(true).await;
        suite(&instance.limiter).await;
        assert_eq!(instance.decided("slow") + instance.decided("failed"), 0, "all of it was shared");
        // Nothing stays for ever: a bucket that is full is no more.
        let ttl = server.say("EVAL \"for _, k in ipairs(redis.call('KEYS','liap:*')) do if redis.call('PTTL',k) < 0 then return k end end return 'none'\" 0");
        assert!(ttl.contains("none"), "{ttl}");

        let small = Options { player_per_minute: 1, ..options() };
        let redis = instance.redis.clone();
        a_small_bucket(&RedisLimiter::new(&small, redis, Arc::clone(&instance.metrics))).await;
    }

    #[tokio::test]
    async fn a_bucket_that_makes_no_sense_is_put_right() {
        let Some(server) = RedisServer::start(&[]) else { return };
        let instance = Instance::at(&server.url(), PATIENT).is(true).await;
        for (content, expected) in [("nonsense", true), ("-1", true), ("99999999999999999999", false)] {
            let key = fresh();
            server.say(&format!("SET liap:limit:player:{key} {content}"));
            let verdict = instance.limiter.check(Kind::Player, key, Cost::Ordinary).await;
            assert_eq!(verdict.is_allowed(), expected, "{content}");
            if let Verdict::Denied { retry_after } = verdict {
                assert!(retry_after <= Duration::from_secs(2), "an empty bucket, no more: {retry_after:?}");
            }
        }
        assert_eq!(instance.decided("failed"), 0);
    }

    /// The limit over three servers, as a client meets it.
    #[test]
    fn sixty_a_minute_over_three_servers_are_sixty_in_all() {
        let Some(mut server) = RedisServer::start(&[]) else { return };
        let url = server.url();
        let start = || {
            Server::start(&[
                ("REDIS_URL", &url),
                // What is measured is the sum, not how busy this machine is.
                ("REDIS_TIMEOUT_MS", "1000"),
                ("RATE_LIMIT_HTTP_PER_MINUTE", "60"),
            ])
        };
        let servers = [start(), start(), start()];
        let is_up = |server: &Server| server.get("/health").json()["checks"]["redis"]["status"] == "healthy";
        until("all share", || servers.iter().all(is_up));
        let asked = |most: usize| {
            let begun = Instant::now();
            let passed = (0..most).filter(|number| servers[number % 3].get("/api/rooms").status == 200).count();
            (passed, begun.elapsed().as_secs_f64())
        };
        let (passed, seconds) = asked(300);
        println!("{passed} of 300 requests passed in {seconds:.2} s");
        // The bucket fills by one a second meanwhile.
        assert!(passed as f64 >= 60.0 && passed as f64 <= (60.0 + seconds) * 1.02, "{passed} in {seconds} s");

        // Without Redis each has its own, and one that was empty in Redis is full here.
        server.kill();
        until("all are alone", || servers.iter().all(|server| !is_up(server)));
        let (passed, seconds) = asked(400);
        println!("{passed} of 400 requests passed in {seconds:.2} s without Redis");
        assert!(passed >= 150 && passed as f64 <= (180.0 + 3.0 * seconds) * 1.02, "{passed} in {seconds} s");
        assert!(servers.iter().all(|server| server.get("/health").status == 200), "degraded, never unhealthy");

        server.start_again();
        until("all share again", || servers.iter().all(is_up));
        let (passed, seconds) = asked(300);
        println!("{passed} of 300 requests passed in {seconds:.2} s with a new Redis");
        assert!(passed as f64 >= 60.0 && passed as f64 <= (60.0 + seconds) * 1.02, "{passed} in {seconds} s");
    }

    #[tokio::test]
    async fn a_killed_redis_is_missed_by_nobody_and_welcomed_back() {
        let Some(mut server) = RedisServer::start(&[]) else { return };
        let instance = Instance::at(&server.url(), PATIENT).is(true).await;
        server.kill();
        instance.goes_on_alone().await;
        server.start_again();
        instance.comes_back().await;
    }

    /// It keeps its connections and answers nothing.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_redis_that_stands_still_is_waited_for_three_times_at_most() {
        let Some(server) = RedisServer::start(&[]) else { return };
        let timeout = Duration::from_millis(200);
        let instance = Instance::at(&server.url(), timeout).is(true).await;
        server.signal("STOP");
        let begun = Instant::now();
        let mut waited = 0;
        while instance.redis.is_up() {
            let asked = Instant::now();
            instance.limiter.check(Kind::Player, fresh(), Cost::Ordinary).await;
            // Never before, and not much later: a timer may be late on a busy machine.
            assert!(asked.elapsed() < timeout * 3, "{:?}", asked.elapsed());
            waited += 1;
            assert!(waited <= 3, "waited {waited} times");
        }
        assert!(begun.elapsed() < timeout * 6, "{:?}", begun.elapsed());
        instance.goes_on_alone().await;
        server.signal("CONT");
        instance.comes_back().await;
    }

    #[tokio::test]
    async fn a_redis_that_pauses_its_clients_is_slow_and_comes_back() {
        let Some(server) = RedisServer::start(&[]) else { return };
        let instance = Instance::at(&server.url(), Duration::from_millis(100)).is(true).await;
        server.say("CLIENT PAUSE 2000 ALL");
        instance.goes_on_alone().await;
        assert!(instance.decided("slow") >= 1);
        instance.comes_back().await;
    }

    /// A way to Redis that takes `delay` for everything it carries, until it is cut.
    struct SlowWay {
        address: SocketAddr,
        delay_ms: Arc<AtomicU64>,
        is_cut: Arc<AtomicBool>,
    }

    impl SlowWay {
        fn to(server: SocketAddr) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (delay_ms, is_cut) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let (delay, cut) = (Arc::clone(&delay_ms), Arc::clone(&is_cut));
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    let Ok(server) = TcpStream::connect(server) else { continue };
                    for (from, to) in [(&client, &server), (&server, &client)] {
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        let (delay, cut) = (Arc::clone(&delay), Arc::clone(&cut));
                        std::thread::spawn(move || carry(from, to, &delay, &cut));
                    }
                }
            });
            Self { address, delay_ms, is_cut }
        }
    }

    fn carry(mut from: TcpStream, mut to: TcpStream, delay_ms: &AtomicU64, is_cut: &AtomicBool) {
        let mut bytes = [0; 4_096];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            std::thread::sleep(Duration::from_millis(delay_ms.load(Ordering::Relaxed)));
            // A cut network says nothing: what is sent is lost.
            if !is_cut.load(Ordering::Relaxed) && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        to.shutdown(std::net::Shutdown::Both).ok();
    }

    #[tokio::test]
    async fn a_slow_way_and_a_cut_one_are_the_same_as_none() {
        let Some(server) = RedisServer::start(&[]) else { return };
        let way = SlowWay::to(server.address());
        let instance = Instance::at(&format!("redis://{}", way.address), Duration::from_millis(100)).is(true).await;
        way.delay_ms.store(300, Ordering::Relaxed);
        instance.goes_on_alone().await;
        way.delay_ms.store(0, Ordering::Relaxed);
        instance.comes_back().await;
        way.is_cut.store(true, Ordering::Relaxed);
        instance.goes_on_alone().await;
        way.is_cut.store(false, Ordering::Relaxed);
        instance.comes_back().await;
    }

    #[tokio::test]
    async fn a_full_redis_decides_nothing_until_there_is_room_again() {
        let Some(server) = RedisServer::start(&["--maxmemory-policy", "noeviction"]) else { return };
        let instance = Instance::at(&server.url(), PATIENT).is(true).await;
        server.say("CONFIG SET maxmemory 1");
        instance.goes_on_alone().await;
        server.say("CONFIG SET maxmemory 0");
        instance.comes_back().await;
    }

    #[tokio::test]
    async fn passwords_and_users_are_shown_and_wrong_ones_change_nothing_but_the_sharing() {
        let Some(server) = RedisServer::start(&["--requirepass", "hush"]) else { return };
        let at = |login: &str| format!("redis://{login}{}", server.address());
        for wrong in ["", ":wrong@", "liap:hush@"] {
            let instance = Instance::at(&at(wrong), PATIENT);
            instance.goes_on_alone().await;
            until_async("it is said why", async || {
                let why = instance.redis.check().message.unwrap();
                why.contains("Password authentication failed") || why.contains("NOAUTH")
            })
            .await;
        }
        Instance::at(&at(":hush@"), PATIENT).comes_back().await;
        server.say("AUTH hush\r\nACL SETUSER liap on >p@ss:word ~liap:* +@all");
        let user = Instance::at(&at("liap:p%40ss%3Aword@"), PATIENT);
        user.comes_back().await;
        // A password that is changed is no more than another outage.
        let instance = Instance::at(&at(":later@"), PATIENT);
        instance.goes_on_alone().await;
        server.say("AUTH hush\r\nCONFIG SET requirepass later");
        instance.comes_back().await;
    }

    /// How often this Redis has refused to run a script at all.
    fn refusals(server: &RedisServer) -> u32 {
        let info = server.say("INFO commandstats");
        let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default();
        let count = line.split_once("rejected_calls=").and_then(|(_, rest)| rest.split(',').next());
        count.map_or(0, |count| count.parse().unwrap())
    }

    /// It can be reached and written to, and yet decides nothing.
    #[tokio::test]
    async fn a_redis_that_runs_no_scripts_is_never_up() {
        let Some(server) = RedisServer::start(&[]) else { return };
        server.say("ACL SETUSER liap on >hush ~liap:* +@all -@scripting");
        let instance = Instance::at(&format!("redis://liap:hush@{}", server.address()), PATIENT);
        let state = instance.redis.watch();
        until_async("it is tried again and again", async || refusals(&server) >= 5).await;
        assert!(!state.has_changed().unwrap(), "it was up meanwhile");
        instance.goes_on_alone().await;
        server.say("ACL SETUSER liap +@scripting");
        instance.comes_back().await;
    }

    #[tokio::test]
    async fn a_node_of_a_cluster_that_has_not_all_keys_is_never_up() {
        let options = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
        let Some(server) = RedisServer::start(&options) else { return };
        server.say("CLUSTER ADDSLOTSRANGE 0 8191");
        until("half a cluster", || server.say("CLUSTER INFO").contains("cluster_state:ok"));
        let instance = Instance::at(&server.url(), PATIENT);
        let state = instance.redis.watch();
        until_async("it is tried again and again", async || refusals(&server) >= 5).await;
        assert!(!state.has_changed().unwrap(), "it was up meanwhile");
        instance.goes_on_alone().await;
        server.say("CLUSTER ADDSLOTSRANGE 8192 16383");
        instance.comes_back().await;
    }

    /// The probe passes and every decision fails: it comes back after ever longer pauses, and the log is not full of it.
    #[test]
    fn a_redis_that_comes_and_goes_is_told_of_twice() {
        let Some(server) = RedisServer::start(&[]) else { return };
        server.say("ACL SETUSER liap on >hush ~liap:probe:* +@all");
        let url = format!("redis://liap:hush@{}", server.address());
        let liap = Server::start(&[("REDIS_URL", &url), ("REDIS_TIMEOUT_MS", "1000"), ("LOG_LEVEL", "debug")]);
        let (address, here) = (liap.address, Arc::new(()));
        let is_here = Arc::downgrade(&here);
        // Redis is down after three failures with no probe between, so nobody can say after how many it has gone.
        let asking = std::thread::spawn(move || {
            while is_here.strong_count() > 0 {
                request(address, "GET", "/api/rooms", &[]);
            }
        });
        let told = [(); 4].map(|()| liap.logged("Redis is down").pop().unwrap());
        drop(here);
        asking.join().unwrap();
        let is_loud = told.each_ref().map(|line| line.contains(r#""level":"warning""#));
        assert_eq!(is_loud, [true, true, false, false], "{told:#?}");
    }

    #[tokio::test]
    async fn a_wiped_redis_forgets_who_asked_and_learns_the_script_again() {
        let Some(server) = RedisServer::start(&[]) else { return };
        let instance = Instance::at(&server.url(), PATIENT).is(true).await;
        let key = fresh();
        let full = allowed(&instance.limiter, Kind::Player, key, Cost::Ordinary).await;
        assert!(full >= 60);
        server.say("SCRIPT FLUSH");
        assert!(
            !instance.limiter.check(Kind::Player, key, Cost::CreateRoom).await.is_allowed(),
            "the bucket is still empty"
        );
        server.say("FLUSHALL");
        assert!(allowed(&instance.limiter, Kind::Player, key, Cost::Ordinary).await >= 60);
        assert_eq!(instance.decided("failed") + instance.decided("slow"), 0);
    }

    #[tokio::test]
    async fn connections_are_opened_as_they_are_needed_up_to_the_bound() {
        let Some(server) = RedisServer::start(&[]) else { return };
        let options = redis::Options {
            url: server.url().parse().unwrap(),
            pool_min: 2,
            pool_max: 4,
            timeout: PATIENT,
            ..redis::Options::default()
        };
        let instance = Instance::with(&options).is(true).await;
        let open = || instance.metrics.redis_connections.get();
        assert_eq!(open(), 2);
        let begun = Instant::now();
        while open() < 4 {
            let asked = (0..1_000).map(|_| instance.limiter.check(Kind::Player, fresh(), Cost::Ordinary));
            futures_util::future::join_all(asked).await;
            assert!(begun.elapsed() < 3 * SOON, "{} connections", open());
        }
        let asked = (0..2_000).map(|_| instance.limiter.check(Kind::Player, fresh(), Cost::Ordinary));
        futures_util::future::join_all(asked).await;
        assert_eq!(open(), 4, "the bound");
    }

    #[tokio::test]
    async fn a_fail_over_by_sentinel_is_followed() {
        let Some(mut master) = RedisServer::start(&[]) else { return };
        let replica_of = format!("{} {}", master.address().ip(), master.address().port());
        let Some(replica) = RedisServer::start(&["--replicaof", &replica_of]) else { return };
        let Some(sentinel) = RedisServer::sentinel(master.address()) else { return };
        until("the Sentinel knows the replica", || {
            sentinel.say("SENTINEL REPLICAS main").contains(&replica.host.to_string())
                && replica.say("INFO replication").contains("master_link_status:up")
        });
        // The first of the Sentinels is not there.
        let url = format!("redis+sentinel://127.0.0.1:1,{}/main/0", sentinel.address());
        let instance = Instance::at(&url, PATIENT).is(true).await;
        assert!(master.say("KEYS liap:limit:*").contains("liap:limit:player"));
        master.kill();
        instance.becomes(false).await;
        instance.comes_back().await;
        assert!(replica.say("INFO replication").contains("role:master"));
        assert!(replica.say("KEYS liap:limit:*").contains("liap:limit:player"));
    }

    fn openssl(folder: &Path, arguments: &str) {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    #[tokio::test]
    async fn tls_is_spoken_with_whom_the_authority_knows_and_with_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        if crate::services::program("LIAP_TEST_REDIS_SERVER").is_none() {
            return;
        }
        let new_key = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for authority in ["ca", "other"] {
            openssl(
                folder.path(),
                &format!("{new_key} -x509 -subj /CN={authority} -days 2 -keyout {authority}.key -out {authority}.pem"),
            );
        }
        openssl(folder.path(), &format!("{new_key} -subj /CN=redis -keyout redis.key -out redis.csr"));
        std::fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
        openssl(
            folder.path(),
            "x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out redis.pem",
        );
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key, authority) = (file("redis.pem"), file("redis.key"), file("ca.pem"));
        let options = ["--tls-port", "6380", "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let more = ["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no", "--requirepass", "hush"];
        let Some(server) = RedisServer::start(&[options, more].concat()) else { return };
        // It is reached at the address that has a name.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = tokio::net::TcpStream::connect((server.host, 6_380)).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        let at = |host: &str, authority: Option<&str>| {
            Instance::with(&redis::Options {
                url: format!("rediss://:hush@{host}:{port}").parse().unwrap(),
                ca_file: authority.map(|name| folder.path().join(name)),
                timeout: PATIENT,
                ..redis::Options::default()
            })
        };
        for host in ["localhost", "127.0.0.1"] {
            at(host, Some("ca.pem")).comes_back().await;
        }
        for stranger in [Some("other.pem"), None] {
            let instance = at("127.0.0.1", stranger);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(!instance.redis.is_up(), "{stranger:?}");
        }
    }
}
