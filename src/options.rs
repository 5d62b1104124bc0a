/// Declares a struct of options, each with its built-in value beside it, so that no second list can disagree.
macro_rules! options {
    (
        $(#[$about:meta])*
        pub struct $name:ident { $($(#[$doc:meta])* pub $option:ident: $type:ty = $value:expr,)* }
    ) => {
        $(#[$about])*
        pub struct $name { $($(#[$doc])* pub $option: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($option: $value,)* }
            }
        }
    };
}
