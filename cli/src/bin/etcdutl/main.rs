//! `etcdutl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(ferrite_cli::command::main(&ferrite_cli::etcdutl::ROOT))
}
