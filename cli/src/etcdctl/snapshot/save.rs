//! `snapshot save`: a member's state, written to a file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use ferrite_client::Client;
use tokio::time::Instant;

use crate::command::{Command, Group, Invocation};
use crate::etcdctl::connect::{Settings, io_reason, open_failed};
use crate::etcdctl::{only, text};
use crate::exit::{self, Exit};
use crate::go::duration::GoDuration;
use crate::log::{self, Level};

pub static COMMAND: Command = Command {
    usage: "save <filename>",
    short: "Stores an etcd node backend snapshot to a given file",
    group: Group::Maintenance,
    run: Some(|call| Box::pin(run(call))),
    ..Command::NONE
};

/// A database is made of pages of 512 bytes or a multiple, and a SHA-256 of it follows.
const PAGE_BYTES: u64 = 512;
const HASH_BYTES: u64 = 32;

async fn run(mut call: Invocation) -> Result<(), Exit> {
    let path = text(only(call.args(), "snapshot save expects one argument <filename>")?);
    let settings = Settings::read(&mut call, &[])?;
    let endpoints = settings.endpoints().await?;
    let [endpoint] = &endpoints[..] else {
        let all = endpoints.join(" ");
        let text = format!("snapshot must be requested to one selected node, not multiple [{all}]");
        return Err(Exit::interrupted(text));
    };
    let client = settings.connect().await.map_err(|exit| exit.with_code(5))?;
    // As long as it takes, unless a limit was given.
    let client = if call.flags().given("command-timeout") { client.with_timeout(settings.timeout) } else { client };
    let version = save(&client, endpoint, &path).await?;
    let mut text = format!("Snapshot saved at {path}\n");
    if !version.is_empty() {
        text.push_str(&format!("Server version {version}\n"));
    }
    exit::print(text.as_bytes())
}

/// A file that is not whole yet; what is left of it goes when this does.
struct Part {
    path: String,
    file: File,
}

impl Drop for Part {
    fn drop(&mut self) {
        // Renamed already, in the good case.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Part {
    fn create(path: String) -> Result<Part, Exit> {
        match OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Part { path, file }),
            Err(error) => Err(Exit::interrupted(format!("could not open {path} ({})", open_failed(&path, &error)))),
        }
    }
}

/// Writes beside the file, and renames when all is on disk: a file of that name is always whole. Returns the server's version.
async fn save(client: &Client, endpoint: &str, path: &str) -> Result<String, Exit> {
    let mut part = Part::create(format!("{path}.part"))?;
    info("created temporary db file", &[("path", &part.path)]);
    let start = Instant::now();
    let mut snapshot = client.snapshot().await.map_err(|error| Exit::interrupted(error.with_code()))?;
    info("fetching snapshot", &[("endpoint", endpoint)]);
    let could_not = |what: &str| {
        let what = what.to_string();
        move |error: &dyn std::fmt::Display| Exit::interrupted(format!("could not {what}: {error}"))
    };
    let mut bytes = 0;
    while let Some(blob) = snapshot.next().await.map_err(|error| could_not("write snapshot")(&error))? {
        bytes += blob.len() as u64;
        part.file.write_all(&blob).map_err(|error| could_not("write snapshot")(&error))?;
    }
    info("completed snapshot read; closing", &[]);
    if bytes % PAGE_BYTES != HASH_BYTES {
        return Err(Exit::interrupted(format!("sha256 checksum not found [bytes: {bytes}]")));
    }
    part.file.sync_all().map_err(|error| could_not("fsync snapshot")(&error))?;
    let took = GoDuration::from(start.elapsed()).to_string();
    let size = crate::print::simple::size(bytes as i64);
    let version = snapshot.version().to_string();
    info("fetched snapshot", &[("endpoint", endpoint), ("size", &size), ("took", &took), ("etcd-version", &version)]);
    rename(&part.path, path)?;
    info("saved", &[("path", path)]);
    Ok(version)
}

fn rename(from: &str, to: &str) -> Result<(), Exit> {
    let reason = match std::fs::rename(from, to) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => "file exists".to_string(),
        Err(error) => io_reason(&error),
    };
    Err(Exit::interrupted(format!("could not rename {from} to {to} (rename {from} {to}: {reason})")))
}

fn info(message: &str, fields: &[(&str, &str)]) {
    log::line(Level::Info, "snapshot/v3_snapshot.go:1", message, fields);
}
