//! The files in which clients of S3 find credentials and regions: `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of the chosen profile, under the names that the environment has for them. A file that is not there says nothing.
pub(super) fn profile(environment: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let chosen = set("AWS_PROFILE").or_else(|| set("AWS_DEFAULT_PROFILE"));
    let profile = chosen.map_or("default", String::as_str);
    let file = |name: &str, default: &str| {
        set(name).map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".aws").join(default)))
    };
    let mut found = BTreeMap::new();
    let mut is_there = false;
    // Where both have something, the credentials' own file is believed.
    for (path, section) in [
        (file("AWS_CONFIG_FILE", "config"), format!("profile {profile}")),
        (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), profile.to_owned()),
    ] {
        let Some(path) = path else { continue };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let default_section = (profile == "default").then_some("default");
        let is_wanted = |name: &str| name == section || Some(name) == default_section;
        is_there |= take_in(&text, is_wanted, &mut found);
    }
    match chosen {
        Some(chosen) if !is_there => Err(format!("the files of AWS settings have no profile {chosen}")),
        Some(chosen) if !found.contains_key("AWS_ACCESS_KEY_ID") && set("AWS_ACCESS_KEY_ID").is_none() => {
            Err(format!("profile {chosen} has no aws_access_key_id; other ways to log in are not supported in files"))
        }
        _ => Ok(found),
    }
}

/// Leaves nothing of the profile where the environment has a word of its own: a key goes with the secret and the token of
/// the same source, and a region has two names there.
pub(super) fn lower_priority(profile: &mut BTreeMap<String, String>, environment: &BTreeMap<String, String>) {
    const CREDENTIALS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let is_set = |names: &[&str]| names.iter().any(|name| environment.get(*name).is_some_and(|it| !it.is_empty()));
    if is_set(&CREDENTIALS) {
        profile.retain(|name, _| !CREDENTIALS.contains(&name.as_str()));
    }
    if is_set(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
        profile.remove("AWS_REGION");
    }
}

/// Takes the wanted section of a file and says whether there is one.
fn take_in(text: &str, is_wanted: impl Fn(&str) -> bool, found: &mut BTreeMap<String, String>) -> bool {
    const NAMES: [(&str, &str); 5] = [
        ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
        ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        ("aws_session_token", "AWS_SESSION_TOKEN"),
        ("region", "AWS_REGION"),
        ("endpoint_url", "AWS_ENDPOINT_URL"),
    ];
    let (mut is_inside, mut is_there) = (false, false);
    for line in text.lines() {
        // An indented line belongs to a setting of several lines, none of which is ours.
        let is_nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name) {
            is_inside = is_wanted(&name.split_whitespace().collect::<Vec<_>>().join(" "));
            is_there |= is_inside;
        } else if is_inside
            && !is_nested
            && let Some((key, value)) = line.split_once('=')
            && let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == key.trim())
        {
            found.insert((*name).to_owned(), value.trim().to_owned());
        }
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile_of(config: &str, credentials: &str, name: Option<&str>) -> Result<BTreeMap<String, String>, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let mut environment = BTreeMap::from([("HOME".to_owned(), home.path().to_str().unwrap().to_owned())]);
        environment.extend(name.map(|name| ("AWS_PROFILE".to_owned(), name.to_owned())));
        profile(&environment)
    }

    const CONFIG: &str = "# hello\n[default]\nregion = eu-central-1\n[profile games]\nregion=auto\n\
        endpoint_url = https://s3.example.org\ns3 =\n  region = nowhere\n";
    const CREDENTIALS: &str =
        "[default]\naws_access_key_id = a\naws_secret_access_key = b=\n; no\n[games]\naws_access_key_id=c\n";

    #[test]
    fn a_profile_is_read_from_both_files() {
        let pairs = |found: BTreeMap<String, String>| {
            found.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let default = profile_of(CONFIG, CREDENTIALS, None).unwrap();
        assert_eq!(pairs(default), "AWS_ACCESS_KEY_ID=a AWS_REGION=eu-central-1 AWS_SECRET_ACCESS_KEY=b=");
        let games = profile_of(CONFIG, CREDENTIALS, Some("games")).unwrap();
        assert_eq!(pairs(games), "AWS_ACCESS_KEY_ID=c AWS_ENDPOINT_URL=https://s3.example.org AWS_REGION=auto");
        assert_eq!(profile_of("", "", None), Ok(BTreeMap::new()));
        assert_eq!(profile(&BTreeMap::new()), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_the_environment_says_is_not_mixed_with_a_profile() {
        const ALL: &str = "[default]\nregion=eu-central-1\naws_access_key_id=a\naws_secret_access_key=b\n\
            aws_session_token=c\nendpoint_url=http://d\n";
        let left = |environment: &[(&str, &str)]| {
            let mut profile = profile_of("", ALL, None).unwrap();
            let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            lower_priority(&mut profile, &environment.collect());
            profile.into_values().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(&[]), "a http://d eu-central-1 b c");
        assert_eq!(left(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_REGION", "")]), left(&[]));
        assert_eq!(left(&[("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")]), "http://d eu-central-1");
        assert_eq!(left(&[("AWS_SESSION_TOKEN", "z")]), "http://d eu-central-1");
        assert_eq!(left(&[("AWS_DEFAULT_REGION", "auto")]), "a http://d b c");
        assert_eq!(left(&[("AWS_REGION", "auto")]), "a http://d b c");
    }

    #[test]
    fn a_profile_that_is_named_must_be_there_and_usable() {
        assert!(profile_of(CONFIG, CREDENTIALS, Some("other")).unwrap_err().contains("no profile other"));
        let sso = profile_of("[profile sso]\nsso_session = x\n", "", Some("sso")).unwrap_err();
        assert!(sso.contains("profile sso has no aws_access_key_id"), "{sso}");
    }
}
