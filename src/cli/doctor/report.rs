//! What was found, for people and for programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use serde_json::{Map, Value};

/// How something is; the later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// A server would run, but you should look.
    Warning,
    /// A server would not run, or not as the settings say.
    Wrong,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    group: &'static str,
    check: &'static str,
    status: Status,
    message: String,
    /// What to do about it; nothing if all is well.
    mend: Option<String>,
    figures: Map<String, Value>,
}

pub(super) fn ok(message: impl Into<String>) -> Finding {
    Finding::new(Status::Ok, message.into(), None)
}

pub(super) fn warning(message: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding::new(Status::Warning, message.into(), Some(mend.into()))
}

pub(super) fn wrong(message: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding::new(Status::Wrong, message.into(), Some(mend.into()))
}

impl Finding {
    /// Which check it is of is said when it is added to a report.
    fn new(status: Status, message: String, mend: Option<String>) -> Self {
        Self { group: "", check: "", status, message, mend, figures: Map::new() }
    }

    /// Adds a figure for programs.
    pub(super) fn with(mut self, name: &str, figure: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), figure.into());
        self
    }
}

/// Everything that was checked, in order.
#[derive(Debug, Default)]
pub(super) struct Report {
    group: &'static str,
    findings: Vec<Finding>,
}

impl Report {
    /// What follows belongs to this group.
    pub(super) fn begin(&mut self, group: &'static str) {
        self.group = group;
    }

    pub(super) fn add(&mut self, check: &'static str, finding: Finding) {
        self.findings.push(Finding { group: self.group, check, ..finding });
    }

    /// The worst that was found.
    pub(super) fn status(&self) -> Status {
        self.findings.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok)
    }

    /// Prints everything for programs: one JSON object.
    pub(super) fn print_json(&self) -> io::Result<()> {
        let report = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "status": self.status(),
            "checks": self.findings,
        });
        writeln!(io::stdout().lock(), "{report:#}")
    }

    /// Prints everything for people, in colour if they look at a terminal.
    pub(super) fn print(&self) -> io::Result<()> {
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let colour = io::stdout().is_terminal() && !wants_none;
        io::stdout().lock().write_all(self.text(colour).as_bytes())
    }

    fn text(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        let mut group = "";
        for Finding { group: its_group, check, status, message, mend, .. } in &self.findings {
            if *its_group != group {
                if !group.is_empty() {
                    text.push('\n');
                }
                group = its_group;
                text.push_str(&format!("{}\n", paint("1", group)));
            }
            let mark = match status {
                Status::Ok => paint("32", "✓"),
                Status::Warning => paint("33", "!"),
                Status::Wrong => paint("31", "✗"),
            };
            text.push_str(&format!("  {mark} {check:<width$}  {message}\n"));
            if let Some(mend) = mend {
                text.push_str(&format!("    {:<width$}  {}\n", "", paint("36", &format!("→ {mend}"))));
            }
        }
        let count = |status| self.findings.iter().filter(|finding| finding.status == status).count();
        let warnings = match count(Status::Warning) {
            0 => "no warnings".to_owned(),
            1 => "1 warning".to_owned(),
            number => format!("{number} warnings"),
        };
        let summary = match (self.status(), count(Status::Wrong)) {
            (Status::Ok, _) => paint("32", "All is well."),
            (Status::Warning, _) => format!("Nothing is wrong; {}.", paint("33", &warnings)),
            (Status::Wrong, wrong) => format!("{}, {warnings}.", paint("31", &format!("{wrong} wrong"))),
        };
        text + &format!("\n{summary}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.begin("network");
        report.add("port", ok("8000 is free"));
        report.begin("disk");
        report.add("space", warning("little is left", "free some").with("free_bytes", 7));
        report
    }

    #[test]
    fn people_read_one_line_for_each_and_how_to_mend_it() {
        let mut report = report();
        assert_eq!(
            report.text(false),
            "network\n  ✓ port   8000 is free\n\ndisk\n  ! space  little is left\n           → free some\n\n\
             Nothing is wrong; 1 warning.\n"
        );
        report.add("folder", wrong("it is gone", "make it"));
        assert!(report.text(false).ends_with("\n1 wrong, 1 warning.\n"));
        assert!(report.text(true).contains("\x1b[31m✗\x1b[0m folder"));
        assert_eq!(Report::default().text(false), "\nAll is well.\n");
    }

    #[test]
    fn programs_read_always_the_same_keys() {
        let report = report();
        assert_eq!(
            serde_json::to_value(&report.findings).unwrap(),
            serde_json::json!([
                {"group": "network", "check": "port", "status": "ok", "message": "8000 is free", "mend": null, "figures": {}},
                {"group": "disk", "check": "space", "status": "warning", "message": "little is left", "mend": "free some",
                 "figures": {"free_bytes": 7}},
            ])
        );
        assert_eq!(report.status(), Status::Warning);
    }
}
