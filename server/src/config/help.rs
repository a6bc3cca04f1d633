//! What `--help` and `--version` print.

use std::fmt::Write;

use super::ETCD_VERSION;
use super::flags::{FLAGS, Group, Set};

/// How the program is called; printed on stderr with every slip in the command line, and before the listing.
pub const USAGE: &str = "\
Usage:

  etcd [flags]
    Start an etcd server.

  etcd --version
    Show the version.

  etcd -h | --help
    Show this help.

  etcd --config-file PATH
    Take the configuration from a file, and nothing from flags and environment.
";

const GROUPS: [(Group, &str); 9] = [
    (Group::Member, "Member"),
    (Group::Clustering, "Clustering"),
    (Group::Security, "Security"),
    (Group::Auth, "Auth"),
    (Group::Profiling, "Profiling and Monitoring"),
    (Group::Logging, "Logging"),
    (Group::Tracing, "Distributed tracing"),
    (Group::Features, "Features"),
    (Group::Unsafe, "Unsafe feature"),
];

/// All flags, by group.
pub fn listing() -> String {
    let mut text = String::new();
    for (group, title) in GROUPS {
        let _ = writeln!(text, "\n{title}:");
        for flag in FLAGS.iter().filter(|flag| flag.group == group) {
            let refused = if matches!(flag.set, Set::NotBuilt) { " Refused: it is not built yet." } else { "" };
            let _ = writeln!(text, "  --{} '{}'\n    {}{refused}", flag.name, flag.default, flag.help);
        }
    }
    text
}

/// Which etcd this is, and which Ferrite.
pub fn version() -> String {
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: Not provided\nGo Version: none (Rust)\nGo OS/Arch: {}/{}\nFerrite Version: {}\n",
        std::env::consts::OS,
        go_arch(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The architecture by Go's name for it.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_that_is_shown_has_a_group() {
        let shown = FLAGS.iter().filter(|flag| flag.group != Group::Hidden);
        let text = listing();
        for flag in shown {
            assert!(text.contains(&format!("\n  --{} '", flag.name)), "{}", flag.name);
        }
        assert!(!text.contains("--force '"));
        assert!(
            text.contains(
                "\n  --auto-tls 'false'\n    Make a certificate for clients. Refused: it is not built yet.\n"
            )
        );
    }

    #[test]
    fn the_version_is_where_scripts_look_for_it() {
        assert!(version().starts_with("etcd Version: 3.7.1\nGit SHA: "));
        assert_eq!(version().lines().count(), 5);
    }
}
