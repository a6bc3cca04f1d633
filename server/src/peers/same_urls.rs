//! Whether two lists of URLs name the same places: literally, or by the addresses that their hosts have.

use std::time::Duration;

use ferrite_observe::log;
use ferrite_observe::log::{Logger, lines};
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep};

use crate::config::Url;

/// A name that is not known may become known: it is asked for again each second.
const RETRY: Duration = Duration::from_secs(1);

/// Compares lists of URLs. Names may be asked for until `give_up`.
pub(super) async fn same_urls(a: &[Url], b: &[Url], give_up: Instant, logger: &Logger) -> Result<(), String> {
    if a.len() != b.len() {
        return Err(format!("len({}) != len({})", go_list(a), go_list(b)));
    }
    let sorted = |urls: &[Url]| {
        let mut texts: Vec<String> = urls.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    if sorted(a) == sorted(b) {
        return Ok(());
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (urls, resolved) in [(a, &mut first), (b, &mut second)] {
        for url in urls {
            resolved.push(resolve(url, give_up, logger).await?);
        }
        resolved.sort();
    }
    match first.iter().zip(&second).find(|(one, other)| one != other) {
        None => Ok(()),
        Some((one, other)) => Err(format!("resolved urls: {one:?} != {other:?}")),
    }
}

/// The URL with its host's address; `localhost` and sockets stay as they are.
async fn resolve(url: &Url, give_up: Instant, logger: &Logger) -> Result<String, String> {
    if url.is_unix() || url.host() == "localhost" || url.host().is_empty() {
        return Ok(url.to_string());
    }
    loop {
        let found = lookup_host(&url.address).await.map(|mut addresses| addresses.next());
        match found {
            Ok(Some(address)) => {
                return Ok(Url { scheme: url.scheme, address: address.to_string() }.to_string());
            }
            Ok(None) | Err(_) if Instant::now() + RETRY < give_up => {
                log!(logger, lines::HOST_NOT_RESOLVED, &url.to_string(), url.host(), RETRY);
                sleep(RETRY).await;
            }
            Ok(None) => return Err(format!("failed to resolve {:?} (no address)", url.to_string())),
            Err(error) => return Err(format!("failed to resolve {:?} ({error})", url.to_string())),
        }
    }
}

/// As Go prints a list of strings.
fn go_list(urls: &[Url]) -> String {
    let texts: Vec<String> = urls.iter().map(|url| format!("{:?}", url.to_string())).collect();
    format!("[{}]", texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_urls;

    #[tokio::test]
    async fn urls_are_the_same_literally_or_by_address() {
        for (a, b, expected) in [
            ("http://a:1", "http://a:1", Ok(())),
            ("http://127.0.0.1:1,http://127.0.0.1:2", "http://127.0.0.1:2,http://127.0.0.1:1", Ok(())),
            ("http://127.0.0.1:1", "http://127.0.0.1:1,http://127.0.0.1:2", Err("len([")),
            ("http://127.0.0.1:1", "https://127.0.0.1:1", Err("resolved urls")),
            ("http://127.0.0.1:1", "http://127.0.0.2:1", Err("resolved urls: \"http://127.0.0.1:1\" != ")),
            ("unix:///a", "unix:///b", Err("resolved urls")),
        ] {
            let (a, b) = (parse_urls(a).unwrap(), parse_urls(b).unwrap());
            let found = same_urls(&a, &b, Instant::now(), &Logger::silent()).await;
            match expected {
                Ok(()) => assert_eq!(found, Ok(())),
                Err(text) => assert!(found.unwrap_err().starts_with(text)),
            }
        }
    }
}
