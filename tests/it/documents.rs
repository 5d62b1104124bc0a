use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether there is a test of this name: `module::name` in `tests/it`, or `path::to::file::tests::name` in `src`.
fn exists(test: &str) -> bool {
    let (module, name) = test.rsplit_once("::").unwrap();
    let file = match module.strip_suffix("::tests") {
        Some(path) => format!("src/{}.rs", path.replace("::", "/")),
        None => format!("tests/it/{}.rs", module.replace("::", "/")),
    };
    let text = fs::read_to_string(in_repository(&file)).unwrap_or_default();
    let function = format!("fn {name}(");
    text.lines().any(|line| line.trim_start().trim_start_matches("async ").starts_with(&function))
}

#[test]
fn the_threats_name_tests_that_exist() {
    let text = fs::read_to_string(in_repository("docs/security.md")).unwrap();
    let mut named = BTreeSet::new();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| threat"));
    for row in rows {
        let shown_by = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = quoted(shown_by).collect();
        assert!(!tests.is_empty(), "nothing shows it: {row}");
        named.extend(tests);
    }
    named.extend(quoted(&text).filter(|quoted| quoted.contains("::")));
    assert!(named.len() > 30, "{named:?}");
    for test in named {
        let is_there = if test.contains("::") { exists(test) } else { in_repository(test).is_file() };
        assert!(is_there, "{test} is named and does not exist");
    }
    assert!(!exists("http::no_such_test"));
}
