//! The scenarios of etcd's Raft library, run against ours and compared byte for byte.
//!
//! They are data from outside: the environment variable `RAFT_SCENARIOS` names their folder, and without it these tests
//! pass with a note. All files of all three folders must pass.
//!
//! ```text
//! interaction/   nodes with their own disks and a network between them, driven by directives   interaction.rs, nodes.rs
//! quorum/        what a quorum has committed, how it votes                                     quorum.rs
//! confchange/    one configuration, changed step by step                                       confchange.rs
//! ```

mod confchange;
mod describe;
mod interaction;
mod nodes;
mod output;
mod quorum;
mod script;

use std::path::PathBuf;

use script::Directive;

/// Runs every file of a folder, each with a handler of its own, and reports the first difference of each that fails.
fn run<H>(folder: &str, files: usize, handler: impl Fn() -> H, handle: impl Fn(&mut H, &Directive) -> String) {
    let Some(root) = std::env::var_os("RAFT_SCENARIOS") else {
        println!("RAFT_SCENARIOS is not set: the scenarios of {folder} are not run");
        return;
    };
    let folder = PathBuf::from(root).join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    paths.sort();
    let mut failures = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut handler = handler();
        for directive in script::parse(&text) {
            let mut got = handle(&mut handler, &directive);
            if !got.ends_with('\n') {
                got.push('\n');
            }
            if got != directive.expected {
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
    }
    assert!(failures.is_empty(), "{} of {} files fail\n{}", failures.len(), paths.len(), failures.join("\n"));
    assert_eq!(paths.len(), files, "files in {}", folder.display());
}

#[test]
fn interaction() {
    run("interaction", 28, interaction::Environment::new, interaction::Environment::handle);
}

#[test]
fn quorum() {
    run("quorum", 4, || (), |(), directive| quorum::handle(directive));
}

#[test]
fn confchange() {
    run("confchange", 9, confchange::Changer::new, confchange::Changer::handle);
}
