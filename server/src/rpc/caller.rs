//! What a handler learns of who asks: metadata, address, deadline.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;

use super::status::{Code, Status};

/// Who makes a call. Later also the identity that a client certificate proves.
#[derive(Debug)]
pub struct Caller {
    pub metadata: Metadata,
    /// Unknown for a unix socket.
    pub address: Option<SocketAddr>,
    pub arrived: Instant,
    /// When the client stops waiting. The RPC layer ends the call then; a handler may use it to wait less.
    pub deadline: Option<Instant>,
}

/// The headers of a call. Where a key is given more than once, the first value counts.
#[derive(Debug)]
pub struct Metadata(pub(super) HeaderMap);

impl Metadata {
    /// The bytes of a value as they came; for a `-bin` key use [`Metadata::binary`].
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(|value| value.as_bytes())
    }

    /// A value if it is visible ASCII.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    /// The decoded value of a key that ends in `-bin`.
    pub fn binary(&self, key: &str) -> Option<Vec<u8>> {
        self.0.get(key).and_then(|value| BASE64.decode(value.as_bytes()).ok())
    }
}

/// gRPC sends no padding and accepts it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Refuses what Go refuses of the headers of a call, and finds its deadline.
pub(super) fn admit(headers: &HeaderMap, now: Instant) -> Result<Option<Instant>, Status> {
    for (key, value) in headers {
        if key.as_str().ends_with("-bin") && BASE64.decode(value.as_bytes()).is_err() {
            let text = format!("malformed binary metadata {value:?} in header {:?}", key.as_str());
            return Err(Status::new(Code::Internal, text));
        }
    }
    let Some(timeout) = headers.get("grpc-timeout") else { return Ok(None) };
    match parse_timeout(timeout.as_bytes()) {
        Some(timeout) => Ok(now.checked_add(timeout)),
        None => Err(Status::new(Code::Internal, format!("malformed grpc-timeout: {timeout:?}"))),
    }
}

/// At most eight digits and a unit.
fn parse_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        for (text, timeout) in [
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("4999m", Some(Duration::from_millis(4999))),
            ("7u", Some(Duration::from_micros(7))),
            ("123456789n", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1", None),
            ("1 S", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), timeout, "{text:?}");
        }
    }

    #[test]
    fn binary_metadata() {
        let mut headers = HeaderMap::new();
        headers.insert("a-bin", "AAE".parse().unwrap());
        headers.insert("b-bin", "AAE=".parse().unwrap());
        headers.append("b-bin", "AAI=".parse().unwrap());
        assert_eq!(admit(&headers, Instant::now()), Ok(None));
        let metadata = Metadata(headers.clone());
        assert_eq!(metadata.binary("a-bin"), Some(vec![0, 1]));
        assert_eq!(metadata.binary("b-bin"), Some(vec![0, 1]));
        headers.insert("c-bin", "?".parse().unwrap());
        assert_eq!(admit(&headers, Instant::now()).unwrap_err().code, Code::Internal);
    }
}
