//! A server in a process of its own, for benches of the whole way.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// Ends with its handle.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    _data: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    /// Ours on a free port, with its usual settings but for these.
    pub(crate) fn liap(settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_liap"));
        command.arg("serve").env_clear().env("DATA_DIR", data.path());
        command.envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("METRICS_PORT", "0")]).envs(settings.iter().copied());
        Self::start(command, Some(data))
    }

    /// This bench itself, which is a bare server where `variable` is set.
    pub(crate) fn bare(variable: &str, value: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(variable, value);
        Self::start(command, None)
    }

    /// Starts it and reads its address from the first line that names one.
    fn start(mut command: Command, data: Option<tempfile::TempDir>) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let (_, rest) = line.split_once("listening on http://")?;
                let end = rest.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap_or(rest.len());
                rest.get(..end)?.parse().ok()
            })
            .expect("the server says where it listens");
        // What else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _data: data }
    }
}
