//! `verify-ledger`: whether a server still holds every write that it acknowledged.

use super::{Failure, connect};
use crate::args::Args;
use crate::ledger;
use std::path::Path;

pub async fn run(args: &Args) -> Result<(), Failure> {
    let [path] = args.words.as_slice() else { return Err(Failure("verify-ledger needs one ledger file".to_owned())) };
    let views: Result<Vec<i64>, _> = args.list("at").iter().map(|r| r.parse()).collect();
    let mut views = views.map_err(|e| Failure(format!("--at: {e}")))?;
    views.sort_unstable();
    let writes = ledger::read(Path::new(path))?;
    let connections = connect(args).await?;
    let verdict = ledger::verify(&connections[0], &writes, &views).await?;
    print!("{verdict}");
    if verdict.holds() {
        Ok(())
    } else {
        Err(Failure(format!("the server does not hold what {path} says was acknowledged")))
    }
}
