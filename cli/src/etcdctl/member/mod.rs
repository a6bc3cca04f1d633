//! `member`: who the cluster consists of.

mod add;
mod list;
mod promote;
mod remove;
mod update;

use bytes::Bytes;

use crate::command::{Command, Group};
use crate::exit::Exit;
use crate::go::number::parse_uint;
use crate::go::quote::quote;

pub static COMMAND: Command = Command {
    usage: "member",
    short: "Membership related commands",
    group: Group::Maintenance,

    commands: &[&add::COMMAND, &list::COMMAND, &promote::COMMAND, &remove::COMMAND, &update::COMMAND],
    ..Command::NONE
};

/// The only word, as a member's id.
fn member_id(args: &[Bytes]) -> Result<u64, Exit> {
    let word = super::text(super::only(args, "member ID is not provided")?);
    parse_uint(&word, Some(16))
        .map_err(|reason| Exit::bad_args(format!("bad member ID arg ({reason}), expecting ID in Hex")))
}

/// Peer URLs, separated by commas, checked as etcd's client does.
fn peer_urls(text: &str) -> Result<Vec<String>, Exit> {
    let urls: Vec<String> = text.split(',').map(str::to_string).collect();
    for url in &urls {
        check_url(url).map_err(Exit::error)?;
    }
    Ok(urls)
}

fn check_url(url: &str) -> Result<(), String> {
    let rest = ["http://", "https://", "unix://", "unixs://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let Some(host) = rest else {
        // Go reads it as a path then, unless what is before the colon may be a scheme.
        let (before, segment) = [':', '/'].map(|end| url.split(end).next().unwrap_or_default()).into();
        let is_scheme = before.starts_with(|c: char| c.is_ascii_alphabetic())
            && before.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if url.starts_with(':') {
            return Err(format!("parse {}: missing protocol scheme", quote(url.as_bytes())));
        }
        if !is_scheme && segment.contains(':') {
            return Err(format!("parse {}: first path segment in URL cannot contain colon", quote(url.as_bytes())));
        }
        return Err(format!("URL scheme must be http, https, unix, or unixs: {url}"));
    };
    if url.starts_with("unix") {
        return Ok(());
    }
    let (host, path) = host.split_once('/').map_or((host, ""), |(host, path)| (host, path));
    if host.rsplit_once(':').is_none_or(|(_, port)| port.contains(']')) {
        return Err(format!("URL address does not have the form \"host:port\": {url}"));
    }
    if !path.is_empty() {
        return Err(format!("URL must not contain a path: {url}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_checked() {
        for (url, error) in [
            ("http://127.0.0.1:2380", None),
            ("https://[::1]:2380/", None),
            ("unix://socket", None),
            ("127.0.0.1:2380", Some("parse \"127.0.0.1:2380\": first path segment in URL cannot contain colon")),
            (":2380", Some("parse \":2380\": missing protocol scheme")),
            ("://h:2380", Some("parse \"://h:2380\": missing protocol scheme")),
            ("host:2380", Some("URL scheme must be http, https, unix, or unixs: host:2380")),
            ("http://host", Some("URL address does not have the form \"host:port\": http://host")),
            ("http://h:1/path", Some("URL must not contain a path: http://h:1/path")),
        ] {
            assert_eq!(check_url(url).err().as_deref(), error);
        }
    }
}
