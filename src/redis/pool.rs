//! Connections to Redis, and the breaker before them.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use log::Level;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Cmd, Pipeline, RedisError as ClientError, Script, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use super::target::{NoConnection, Target};
use super::{Options, RedisError};
use crate::observe::{Check, Metrics};

/// So many failures in a row, and Redis counts as gone.
const FAILURES: u32 = 3;
/// Questions under way on every connection before another one is opened.
const BUSY: usize = 64;
/// How often connections are looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A connection that nobody needed for so long is closed, down to the minimum.
const IDLE: Duration = Duration::from_secs(60);
/// Pauses between attempts to reach a Redis that is gone: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// Up for so long, Redis counts as here to stay: the next pause is the first one again.
const STAYS: Duration = Duration::from_secs(10);
/// Of a Redis that comes and goes this is said so often, and then no more until it stays.
const SAID: u32 = 2;
/// Run before Redis counts as back, and all the while: what a decision does, because one that runs no scripts, has no
/// clock or takes no writes is of no use.
const PROBE: &str = "redis.call('TIME') redis.call('GET', KEYS[1]) return redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])";
/// At both ends of the slots of a cluster (26 and 16368): a node that has some and not others would decide here and
/// refuse there.
const PROBE_KEYS: [&str; 2] = ["liap:probe:28", "liap:probe:89"];
const PROBE_MS: u32 = 1_000;

/// A handle on Redis; clones are the same. Its connections are looked after in the background.
#[derive(Clone)]
pub struct Redis(Arc<Handle>);

struct Handle {
    pool: Arc<Pool>,
    keeper: JoinHandle<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Why Redis has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is known to be gone; nobody waited.
    Away,
    /// The wait was over.
    Slow,
    /// It refuses, or the connection is lost.
    Failed,
}

impl Trouble {
    /// Its name in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

struct Pool {
    target: Target,
    options: Options,
    /// Connections that work; none while Redis is gone.
    lanes: RwLock<Vec<Arc<Lane>>>,
    is_up: watch::Sender<bool>,
    /// In a row.
    failures: AtomicU32,
    /// Why it is gone.
    trouble: Mutex<String>,
    /// How often Redis went since it last stayed.
    falls: AtomicU32,
    /// All lanes are busy.
    crowded: Notify,
    probe: Script,
    metrics: Arc<Metrics>,
}

/// One connection, on which any number of questions may be under way.
struct Lane {
    connection: MultiplexedConnection,
    under_way: AtomicUsize,
}

/// A question under way on a lane, for as long as somebody waits for its answer.
struct Passenger(Arc<Lane>);

impl Drop for Passenger {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("url", &self.0.pool.options.url).field("is_up", &self.is_up()).finish()
    }
}

impl Redis {
    pub(super) fn open(options: &Options, metrics: &Arc<Metrics>) -> Result<Self, RedisError> {
        let pool = Arc::new(Pool {
            target: Target::new(options)?,
            options: options.clone(),
            lanes: RwLock::default(),
            is_up: watch::Sender::new(false),
            failures: AtomicU32::new(0),
            trouble: Mutex::new("it has not answered yet".to_owned()),
            falls: AtomicU32::new(0),
            crowded: Notify::new(),
            probe: Script::new(PROBE),
            metrics: Arc::clone(metrics),
        });
        let keeper = tokio::spawn(Arc::clone(&pool).keep());
        Ok(Self(Arc::new(Handle { pool, keeper })))
    }

    /// Whether Redis is believed to answer.
    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.0.pool.is_up.borrow()
    }

    /// Tells when Redis comes and goes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.pool.is_up.subscribe()
    }

    /// The number of the database that holds the keys.
    #[must_use]
    pub fn database(&self) -> u16 {
        self.0.pool.options.url.database()
    }

    /// Asks one question, within the bounded wait.
    ///
    /// # Errors
    /// [`Trouble`] if there is no answer in time, or none of use.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, Trouble> {
        let pool = &self.0.pool;
        let passenger = pool.board().ok_or(Trouble::Away)?;
        let mut connection = passenger.0.connection.clone();
        pool.judge(timeout(pool.options.patience, connection.send_packed_command(command)).await)
    }

    /// Runs a script, within the bounded wait; sends it along when Redis does not know it.
    ///
    /// # Errors
    /// [`Trouble`] if there is no answer in time, or none of use.
    pub async fn run(&self, by_hash: &Cmd, whole: impl FnOnce() -> Cmd + Send) -> Result<Value, Trouble> {
        let pool = &self.0.pool;
        let passenger = pool.board().ok_or(Trouble::Away)?;
        let mut connection = passenger.0.connection.clone();
        pool.judge(timeout(pool.options.patience, run(&mut connection, by_hash, whole)).await)
    }

    /// Sends several commands in one go and waits longer than for a decision: for what nobody at a table waits for.
    ///
    /// # Errors
    /// [`Trouble`] if there is no answer in time, or none of use.
    pub async fn exchange<T: redis::FromRedisValue>(
        &self,
        commands: &Pipeline,
        patience: Duration,
    ) -> Result<T, Trouble> {
        let passenger = self.0.pool.board().ok_or(Trouble::Away)?;
        let mut connection = passenger.0.connection.clone();
        match timeout(patience, commands.query_async(&mut connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                log::debug!("Redis has refused: {error}");
                Err(Trouble::Failed)
            }
            Err(_) => Err(Trouble::Slow),
        }
    }

    /// A connection to be told things on; it ends with the Redis it leads to.
    ///
    /// # Errors
    /// [`Trouble`] if there is none.
    pub async fn subscribe(&self) -> Result<PubSub, Trouble> {
        self.0.pool.target.subscribe().await.map_err(|error| match error {
            NoConnection::Late(_) => Trouble::Slow,
            NoConnection::Refused(_) => Trouble::Failed,
        })
    }

    /// How Redis is.
    #[must_use]
    pub fn check(&self) -> Check {
        let pool = &self.0.pool;
        let check = if self.is_up() {
            Check::healthy()
        } else {
            let trouble = pool.trouble();
            Check::degraded(format!("Redis is of no use, this server goes on by itself: {trouble}"))
        };
        check.with("connections", pool.lanes().len())
    }
}

async fn run(
    connection: &mut MultiplexedConnection,
    by_hash: &Cmd,
    whole: impl FnOnce() -> Cmd + Send,
) -> Result<Value, ClientError> {
    match connection.send_packed_command(by_hash).await.and_then(Value::extract_error) {
        Err(error) if error.code() == Some("NOSCRIPT") => connection.send_packed_command(&whole()).await,
        answer => answer,
    }
}

/// How long to wait before Redis is tried again.
struct Pause(Duration);

impl Pause {
    /// The next one, after Redis was up for so long.
    fn after(&mut self, up: Duration) -> Duration {
        if up >= STAYS {
            self.0 = FIRST_PAUSE;
        }
        let pause = self.0;
        self.0 = (pause * 2).min(LAST_PAUSE);
        pause
    }
}

impl Pool {
    fn lanes(&self) -> std::sync::RwLockReadGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place on the emptiest lane.
    fn board(&self) -> Option<Passenger> {
        let lane = {
            let lanes = self.lanes();
            let lane = lanes.iter().min_by_key(|lane| lane.under_way.load(Ordering::Relaxed))?;
            if lane.under_way.load(Ordering::Relaxed) >= BUSY && lanes.len() < self.options.pool_max {
                self.crowded.notify_one();
            }
            Arc::clone(lane)
        };
        lane.under_way.fetch_add(1, Ordering::Relaxed);
        Some(Passenger(lane))
    }

    /// Looks at an answer, and takes note if it is none.
    fn judge(&self, answer: Result<Result<Value, ClientError>, tokio::time::error::Elapsed>) -> Result<Value, Trouble> {
        match answer {
            Ok(Ok(Value::ServerError(error))) => self.failed(&ClientError::from(error)),
            Ok(Ok(value)) => {
                // Written only if it changes, so that threads do not fight for it.
                if self.failures.load(Ordering::Relaxed) > 0 {
                    self.failures.store(0, Ordering::Relaxed);
                }
                Ok(value)
            }
            Ok(Err(error)) => self.failed(&error),
            Err(_) => {
                self.count_failure(|| "no answer in time".to_owned());
                Err(Trouble::Slow)
            }
        }
    }

    fn failed(&self, error: &ClientError) -> Result<Value, Trouble> {
        if error.is_unrecoverable_error() || error.is_io_error() {
            self.go_down(|| error.to_string());
        } else {
            self.count_failure(|| error.to_string());
        }
        Err(Trouble::Failed)
    }

    fn count_failure(&self, reason: impl FnOnce() -> String) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.go_down(reason);
        }
    }

    /// From now on nobody waits.
    fn go_down(&self, reason: impl FnOnce() -> String) {
        if self.is_up.send_if_modified(std::mem::take) {
            let level = self.loudly(Level::Warn);
            self.falls.fetch_add(1, Ordering::Relaxed);
            self.set_lanes(Vec::new());
            let reason = reason();
            log::log!(level, "Redis is gone, this server goes on by itself: {reason}");
            *self.trouble() = reason;
        }
    }

    fn trouble(&self) -> MutexGuard<'_, String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At what level something is said of its coming and going, which by itself has this one.
    fn loudly(&self, level: Level) -> Level {
        if self.falls.load(Ordering::Relaxed) < SAID { level } else { Level::Debug }
    }

    /// Says so if nothing was said of it when it came.
    fn stays(&self) {
        if self.falls.swap(0, Ordering::Relaxed) >= SAID {
            log::info!("Redis answers at {}, and goes on to", self.options.url);
        }
    }

    fn set_lanes(&self, lanes: Vec<Arc<Lane>>) {
        self.metrics.redis_connections.set(i64::try_from(lanes.len()).unwrap_or(i64::MAX));
        self.metrics.redis_up.set(i64::from(!lanes.is_empty()));
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = lanes;
    }

    /// Keeps connections while Redis is there, and tries to reach it while it is not.
    async fn keep(self: Arc<Self>) {
        let mut pause = Pause(FIRST_PAUSE);
        let mut is_told = false;
        loop {
            let mut up = Duration::ZERO;
            match self.connect(self.options.pool_min.max(1)).await {
                Ok(lanes) => {
                    self.failures.store(0, Ordering::Relaxed);
                    self.set_lanes(lanes);
                    let level = self.loudly(Level::Info);
                    self.is_up.send_replace(true);
                    log::log!(level, "Redis answers at {}", self.options.url);
                    // Whoever hears no more of it has heard last that it is gone.
                    is_told = level != Level::Info;
                    let since = Instant::now();
                    self.look_after(since).await;
                    up = since.elapsed();
                }
                Err(error) => {
                    let level = if is_told { Level::Debug } else { Level::Warn };
                    is_told = true;
                    log::log!(level, "Redis does not answer at {}: {error}", self.options.url);
                    *self.trouble() = error.to_string();
                }
            }
            let pause = pause.after(up);
            // Spread, so that several servers do not all come at once to a Redis that has just come back.
            sleep(pause / 2 + pause.mul_f64(f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX) / 2.0))
                .await;
        }
    }

    /// So many connections, the first of which has proved that Redis is fit for use.
    async fn connect(&self, count: usize) -> Result<Vec<Arc<Lane>>, NoConnection> {
        let mut lanes = Vec::with_capacity(count);
        for _ in 0..count {
            let lane = self.open_lane().await?;
            if lanes.is_empty() {
                self.probe(&lane).await?;
            }
            lanes.push(lane);
        }
        Ok(lanes)
    }

    async fn open_lane(&self) -> Result<Arc<Lane>, NoConnection> {
        Ok(Arc::new(Lane { connection: self.target.connect().await?, under_way: AtomicUsize::new(0) }))
    }

    async fn probe(&self, lane: &Lane) -> Result<(), NoConnection> {
        let mut connection = lane.connection.clone();
        let patience = self.options.patience;
        for key in PROBE_KEYS {
            let command = |what, script| {
                let mut command = redis::cmd(what);
                command.arg(script).arg(1).arg(key).arg(PROBE_MS);
                command
            };
            let by_hash = command("EVALSHA", self.probe.get_hash());
            let asked = timeout(patience, run(&mut connection, &by_hash, || command("EVAL", PROBE))).await;
            asked.map_err(|_| NoConnection::Late(patience))??.extract_error()?;
        }
        Ok(())
    }

    /// Looks after the connections until Redis, which is up since then, is gone.
    async fn look_after(&self, since: Instant) {
        let mut is_up = self.is_up.subscribe();
        let mut last_crowded = Instant::now();
        let mut looks = interval(LOOK_EVERY);
        loop {
            // Nobody is left to tell if the handle is gone.
            let gone = async { drop(is_up.wait_for(|is_up| !is_up).await) };
            tokio::select! {
                () = gone => return,
                () = self.crowded.notified() => {
                    last_crowded = Instant::now();
                    // It may have been asked for while the last one was on its way.
                    let is_full = self.lanes().len() >= self.options.pool_max;
                    if !is_full {
                        // None more is no harm, those there are go on; but it is not tried again at once.
                        match self.open_lane().await {
                            Ok(lane) => self.change_lanes(|lanes| lanes.push(lane)),
                            Err(_) => sleep(FIRST_PAUSE).await,
                        }
                    }
                }
                _ = looks.tick() => {
                    let lanes = self.lanes().clone();
                    for lane in lanes {
                        match self.probe(&lane).await {
                            Ok(()) => self.failures.store(0, Ordering::Relaxed),
                            Err(NoConnection::Refused(error)) => drop(self.failed(&error)),
                            Err(late) => self.count_failure(|| late.to_string()),
                        }
                    }
                    if since.elapsed() >= STAYS && *self.is_up.borrow() {
                        self.stays();
                    }
                    if last_crowded.elapsed() > IDLE {
                        let least = self.options.pool_min.max(1);
                        self.change_lanes(|lanes| lanes.truncate(least.max(lanes.len() - 1)));
                    }
                }
            }
        }
    }

    /// Changes the lanes, unless Redis has gone meanwhile.
    fn change_lanes(&self, change: impl FnOnce(&mut Vec<Arc<Lane>>)) {
        let mut lanes = self.lanes().clone();
        if !lanes.is_empty() {
            change(&mut lanes);
            self.set_lanes(lanes);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Takes all there is to a command and says so, over and over; tells how many there were.
    async fn agree(stream: TcpStream, commands: watch::Sender<usize>) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Some(parts) = line.strip_prefix('*') else { continue };
            for _ in 0..2 * parts.parse::<usize>().unwrap() {
                lines.next_line().await.unwrap();
            }
            writer.write_all(b"+OK\r\n").await.unwrap();
            commands.send_modify(|commands| *commands += 1);
        }
    }

    #[test]
    fn pauses_grow_until_redis_has_stayed() {
        let mut pause = Pause(FIRST_PAUSE);
        let mut after = |up| pause.after(Duration::from_millis(up)).as_millis();
        assert_eq!([0, 0, 0].map(&mut after), [50, 100, 200]);
        assert_eq!([5, 9_999, 0, 5].map(&mut after), [400, 800, 1_000, 1_000], "being up for a moment changes nothing");
        assert_eq!([10_000, 0].map(&mut after), [50, 100]);
    }

    #[tokio::test]
    async fn a_connection_asked_for_twice_is_opened_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap()).parse().unwrap();
        let options = Options { url, pool_max: 2, patience: Duration::from_secs(60), ..Options::default() };
        let redis = Redis::open(&options, &Arc::new(Metrics::new("test", "test", false))).unwrap();
        let pool = &redis.0.pool;
        let (first, _) = listener.accept().await.unwrap();
        tokio::spawn(agree(first, watch::Sender::new(0)));
        redis.watch().wait_for(|is_up| *is_up).await.unwrap();

        // A place too many, and another while the second connection is on its way.
        let mut passengers: Vec<Passenger> = (0..=BUSY).filter_map(|_| pool.board()).collect();
        let (second, _) = listener.accept().await.unwrap();
        passengers.extend(pool.board());
        assert_eq!((passengers.len(), pool.lanes().len()), (BUSY + 2, 1));
        let commands = watch::Sender::new(0);
        let mut asked = commands.subscribe();
        tokio::spawn(agree(second, commands));
        // Nobody else comes; the second connection is looked after meanwhile, and not for the first time.
        tokio::select! {
            _ = listener.accept() => panic!("more than the bound"),
            looked = asked.wait_for(|commands| *commands >= 5) => drop(looked.unwrap()),
        }
        assert_eq!(pool.lanes().len(), 2);
    }
}
