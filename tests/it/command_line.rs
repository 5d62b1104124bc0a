use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory as _;
use liap::cli::Cli;
use liap::config::SETTINGS;

fn liap(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_liap")).args(arguments).env_clear().output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = liap(arguments);
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Every command as the words that name it, the program itself first.
fn commands() -> Vec<Vec<String>> {
    fn gather(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        found.push(words.to_vec());
        for command in command.get_subcommands() {
            gather(command, &[words, &[command.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    gather(&Cli::command(), &[], &mut found);
    assert!(found.len() > 15, "{found:?}");
    found
}

/// Whether a program is on this machine; tests that are better with it look.
fn is_there(program: &str) -> bool {
    let silent = || Stdio::null();
    Command::new(program).arg("--version").stdin(silent()).stdout(silent()).stderr(silent()).status().is_ok()
}

#[test]
fn every_command_has_a_manual_page() {
    for words in commands() {
        let arguments: Vec<&str> = ["man"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let page = printed(&arguments);
        let name: Vec<&str> = ["liap"].into_iter().chain(arguments.into_iter().skip(1)).collect();
        let title = format!(".TH {} 1 ", name.join("-").to_uppercase());
        assert!(page.contains(&title), "no {title} in {page:.200}");
        if is_there("mandoc") {
            let mut lint = Command::new("mandoc")
                .args(["-T", "lint", "-W", if words.is_empty() { "warning" } else { "error" }])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            lint.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
            let output = lint.wait_with_output().unwrap();
            assert!(output.status.success(), "{name:?}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }
    assert_eq!(liap(&["man", "no-such-command"]).status.code(), Some(64));
}

#[test]
fn the_manual_names_every_setting_and_what_scripts_rely_on() {
    // Without the escapes of the form.
    let page = printed(&["man"]).replace("\\-", "-").replace("\\fR", "").replace("\\fB", "");
    for setting in SETTINGS {
        assert!(page.contains(&format!("{}=", setting.name)), "{}", setting.name);
    }
    for words in ["SH FILES", "DATA_DIR/journal", "SH SIGNALS", "SIGHUP", "SH \"EXIT STATUS\"", "78\n", "LIAP_CONFIG"] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn every_shell_learns_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for word in commands().iter().filter_map(|words| words.last()) {
            assert!(script.contains(word.as_str()), "{shell}: {word}");
        }
    }
    assert_eq!(liap(&["completions", "csh"]).status.code(), Some(64));
}

#[test]
fn bash_completes_commands_and_flags() {
    if !is_there("bash") {
        return;
    }
    for (words, expected) in [
        ("liap arch", "archive"),
        ("liap archive ver", "verify"),
        ("liap doctor --js", "--json"),
        ("liap config --reference m", "markdown"),
    ] {
        let script = format!(
            "source <({} completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _liap liap \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            env!("CARGO_BIN_EXE_liap")
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{words}: {output:?}");
    }
}

#[test]
fn the_readme_names_every_command() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(readme.contains(&format!("liap {name}")) || name == "serve", "{name}");
    }
}

/// The server starts itself anew with what the allocator must be told (`observe/allocator.rs`).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_allocator_is_tuned_unless_somebody_has_said_otherwise() {
    use crate::process::Server;

    let tunables = |server: &Server| {
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", server.pid())).unwrap();
        // glibc ends each of them with a zero when it has read it.
        let all: Vec<_> =
            environment.split(['\0', '=', ':']).filter(|word| word.starts_with("glibc.malloc.")).collect();
        all.join(" ")
    };
    assert_eq!(tunables(&Server::start(&[])), "glibc.malloc.tcache_count glibc.malloc.arena_max");
    let said = ("GLIBC_TUNABLES", "glibc.malloc.perturb=1");
    assert_eq!(tunables(&Server::start(&[said])), "glibc.malloc.perturb");
    // As where glibc takes its variable away: the server starts all the same, and not for ever.
    assert_eq!(tunables(&Server::start(&[("LIAP_STARTED_ANEW", "1")])), "");
}
