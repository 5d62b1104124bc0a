use std::collections::BTreeMap;
use std::path::PathBuf;

/// A source of settings.
#[derive(Debug, Clone, PartialEq, Eq, derive_more::Display)]
pub enum Layer {
    /// Built in.
    #[display("default")]
    Default,
    /// A file of settings.
    #[display("file {}", _0.display())]
    File(PathBuf),
    /// An environment variable.
    #[display("environment")]
    Environment,
    /// The file an environment variable `NAME_FILE` names.
    #[display("secret file")]
    SecretFile,
    /// The command line.
    #[display("command line")]
    Flag,
}

/// What the sources say: by the name of a setting, the highest layer that has it, and the text there. `None` stands for a
/// table in a file, which no setting is. Values keep their text: guessing types would turn a token `0012` into the number 12.
pub(super) type Given = BTreeMap<&'static str, (Layer, Option<String>)>;
