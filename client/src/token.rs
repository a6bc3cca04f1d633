//! The token that calls present, and how it is renewed.
//!
//! A client with a user and a password asks for a token when it is created, when a server rejects the one it has, and before each stream.

use std::sync::Mutex;

use tonic::metadata::{Ascii, MetadataValue};

use crate::config::Credentials;
use crate::error::Error;

/// What to present, and what to renew it with.
pub(crate) struct Token {
    credentials: Option<Credentials>,
    current: Mutex<Option<MetadataValue<Ascii>>>,
}

impl Token {
    pub(crate) fn new(credentials: Option<Credentials>, given: Option<&str>) -> Result<Token, Error> {
        let current = given.map(parse).transpose()?;
        Ok(Token { credentials, current: Mutex::new(current) })
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    pub(crate) fn current(&self) -> Option<MetadataValue<Ascii>> {
        self.current.lock().expect("nothing panics while it holds this lock").clone()
    }

    /// `None`: the server does without authentication.
    pub(crate) fn set(&self, token: Option<&str>) -> Result<(), Error> {
        *self.current.lock().expect("nothing panics while it holds this lock") = token.map(parse).transpose()?;
        Ok(())
    }
}

fn parse(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    token.parse().map_err(|_| Error::Config("the token holds characters that cannot be sent as metadata".into()))
}
