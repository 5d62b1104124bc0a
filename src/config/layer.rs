use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A source of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// Built in.
    Default,
    /// A file of settings.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// The file an environment variable `NAME_FILE` names.
    SecretFile,
    /// The command line.
    Flag,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::SecretFile => f.write_str("secret file"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// What the sources say: by the name of a setting, the highest layer that has it, and the text there. `None` stands for a
/// table in a file, which no setting is. Values keep their text: guessing types would turn a token `0012` into the number 12.
pub(super) type Given = BTreeMap<&'static str, (Layer, Option<String>)>;
