//! Checks what no single setting can know: whether the settings fit together and into this build.

use std::collections::BTreeMap;

use super::{Config, Layer, Mistake, Setting};

impl Config {
    /// Adds every conflict between settings to `mistakes`.
    pub(super) fn check(&self, layers: &BTreeMap<&'static str, Layer>, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |name: &str, problem: &str| {
            let layer = layers.get(name).cloned().unwrap_or(Layer::Default);
            let value = Setting::find(name).map(|setting| setting.shown(&layer, self)).unwrap_or_default();
            mistakes.push(Mistake::new(name, layer, problem).with_value(value));
        };
        if self.http.peer_timeout <= self.http.ping_interval {
            wrong(
                "PEER_TIMEOUT_SECONDS",
                "must be longer than PING_INTERVAL_SECONDS, or every idle socket would be dropped",
            );
        }
        if self.metrics.enabled && self.http.port != 0 && self.metrics.port == self.http.port {
            wrong("METRICS_PORT", "must differ from PORT: metrics have a listener of their own");
        }
        match (&self.http.tls_cert, &self.http.tls_key) {
            (Some(_), None) => wrong("TLS_CERT", "needs TLS_KEY as well: https takes a certificate and its key"),
            (None, Some(_)) => wrong("TLS_KEY", "needs TLS_CERT as well: https takes a certificate and its key"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        for (name, problem) in self.archive.mistakes() {
            wrong(name, &problem);
        }
        if self.redis.url.is_set() && !crate::redis::is_compiled_in() {
            wrong(
                "REDIS_URL",
                "Redis is not in this build; leave it empty, or build with `cargo build --release --features redis`",
            );
        }
        if self.redis.pool_min > self.redis.pool_max {
            wrong("REDIS_POOL_MIN", "must not be above REDIS_POOL_MAX");
        }
        if let Some(problem) = self.redis.ca_file_error() {
            wrong("REDIS_CA_FILE", &problem);
        }
        if self.http.static_dir.as_ref().is_some_and(|folder| !folder.join("index.html").is_file()) {
            wrong("STATIC_DIR", "must be a folder with an index.html");
        }
    }
}
