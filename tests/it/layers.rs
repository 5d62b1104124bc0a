//! Who may know whom: the `use crate::` lines of each folder, held against the order of the house.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each folder may use of ours, besides itself. A leaf uses nothing.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("game", &[] as &[_]),
        ("disk", &[]),
        ("observe", &[]),
        ("options", &[]),
        ("insecure_tls", &[]),
        ("parallel", &[]),
        ("protocol", &["game"]),
        ("redis", &["observe"]),
        ("limit", &["observe", "redis"]),
        ("archive", &["game", "observe", "disk", "insecure_tls", "parallel"]),
        ("room", &["game", "protocol", "archive", "observe", "disk"]),
        ("directory", &["game", "protocol", "room", "redis", "observe"]),
        ("load", &[]),
        ("services", &["room", "limit", "archive", "observe", "redis", "directory"]),
        ("memory_reclaimer", &["services", "limit", "archive", "observe"]),
        (
            "http",
            &["room", "protocol", "limit", "archive", "observe", "game", "memory_reclaimer", "directory", "services"],
        ),
        ("config", &["room", "http", "limit", "archive", "observe", "redis", "directory"]),
        (
            "server",
            &[
                "room",
                "http",
                "limit",
                "archive",
                "observe",
                "redis",
                "directory",
                "config",
                "memory_reclaimer",
                "services",
            ],
        ),
        (
            "cli",
            &[
                "server",
                "config",
                "archive",
                "game",
                "load",
                "observe",
                "http",
                "protocol",
                "room",
                "redis",
                "insecure_tls",
                "parallel",
            ],
        ),
    ])
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_folder_uses_only_what_lies_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 40, "the source was found");
    let allowed = allowed();
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&source).unwrap();
        let folder = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if ["main", "lib"].contains(&folder) {
            continue;
        }
        let may_use = allowed.get(folder).unwrap_or_else(|| panic!("{folder} has no place in the order of the house"));
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_start();
            let Some(at) = line.find("crate::").filter(|_| !line.starts_with("//")) else {
                continue;
            };
            let used: String = line[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(!used.is_empty(), "{}:{number}: write one `use crate::folder::` per folder", inside.display());
            if used != folder && !may_use.contains(&used.as_str()) {
                wrong.push(format!("{}:{number}: {folder} uses {used}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
