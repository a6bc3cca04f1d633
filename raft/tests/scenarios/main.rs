//! Scenarios: what nodes are told above the line, all that comes of it below, compared byte for byte.
//!
//! Those of etcd's Raft library are data from outside: the environment variable `RAFT_SCENARIOS` names their folder, and
//! without it their tests pass with a note. All files of all three folders must pass.
//!
//! ```text
//! interaction/   nodes with their own disks and a network between them, driven by directives   interaction.rs, nodes.rs
//! quorum/        what a quorum has committed, how it votes                                     quorum.rs
//! confchange/    one configuration, changed step by step                                       confchange.rs
//! ```
//!
//! Our own are in `tests/script`, in the language of `interaction/` with a few more directives (`directives.rs`). Where a
//! figure of the Raft paper or a section of the thesis (Ongaro 2014) tells a story, one of them tells it again and bears its
//! name. `RAFT_REWRITE=1` writes down what comes of them now: the difference is to be read.

mod confchange;
mod describe;
mod directives;
mod interaction;
mod nodes;
mod output;
mod quorum;
mod script;

use std::path::{Path, PathBuf};

use interaction::Environment;
use script::Directive;

/// The files of a folder of etcd's scenarios, if they are here.
fn given(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RAFT_SCENARIOS");
    if root.is_none() {
        println!("RAFT_SCENARIOS is not set: the scenarios of {folder} are not run");
    }
    root.map(|root| PathBuf::from(root).join(folder))
}

/// Runs every file of a folder, each with a handler of its own, and reports the first difference of each that fails.
fn run<H>(
    folder: &Path,
    handler: impl Fn() -> H,
    handle: impl Fn(&mut H, &Directive) -> String,
    rewrite: bool,
) -> usize {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let mut failures = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (mut handler, mut written) = (handler(), String::new());
        for directive in script::parse(&text) {
            let mut got = handle(&mut handler, &directive);
            if !got.ends_with('\n') {
                got.push('\n');
            }
            written += &format!("{}{got}\n", directive.source);
            if got != directive.expected && !rewrite {
                failures.push(format!(
                    "{}:{}: {}\n--- expected\n{}--- got\n{got}",
                    path.display(),
                    directive.line,
                    directive.command,
                    directive.expected
                ));
                break;
            }
        }
        if rewrite {
            std::fs::write(path, written.trim_end().to_owned() + "\n").expect("the file can be written");
        }
    }
    assert!(failures.is_empty(), "{} of {} files fail\n{}", failures.len(), paths.len(), failures.join("\n"));
    paths.len()
}

#[test]
fn interaction() {
    if let Some(folder) = given("interaction") {
        assert_eq!(run(&folder, Environment::new, Environment::handle, false), 28);
    }
}

#[test]
fn quorum() {
    if let Some(folder) = given("quorum") {
        assert_eq!(run(&folder, || (), |(), directive| quorum::handle(directive), false), 4);
    }
}

#[test]
fn confchange() {
    if let Some(folder) = given("confchange") {
        assert_eq!(run(&folder, confchange::Changer::new, confchange::Changer::handle, false), 9);
    }
}

#[test]
fn our_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/script");
    let rewrite = std::env::var_os("RAFT_REWRITE").is_some();
    assert!(run(&folder, Environment::new, Environment::handle, rewrite) >= 30);
}
