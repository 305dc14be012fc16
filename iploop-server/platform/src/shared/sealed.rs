//! Shared state that only our own processes can read: what says something of people is encrypted before it leaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{Heard, Name, Note, SharedError, SharedState, Topic};
use crate::clock::Timestamp;
use crate::login::SigningSecret;

/// What a letter is sealed as: no topic is called so.
const LETTER: &str = "letter";

/// Values and messages under a key that is derived from the signing secret, which all processes of a platform have.
///
/// What another key sealed reads as nothing. Clones share one state.
#[derive(Clone)]
pub struct SealedState(Arc<Inner>);

struct Inner {
    state: Arc<dyn SharedState>,
    key: LessSafeKey,
}

impl SealedState {
    /// Over `state`; none if the key can't be made, which no key of the right length causes.
    pub fn new(state: Arc<dyn SharedState>, secret: &SigningSecret) -> Option<Self> {
        let derived = secret.derive("shared state");
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &derived).ok()?);
        Some(Self(Arc::new(Inner { state, key })))
    }

    /// As [`SharedState::keep`].
    ///
    /// # Errors
    /// The shared state's.
    pub async fn keep(
        &self,
        notes: impl IntoIterator<Item = (Name, Vec<u8>, Duration)>,
        now: Timestamp,
    ) -> Result<(), SharedError> {
        let notes: Vec<Note> = notes
            .into_iter()
            .filter_map(|(name, value, lasts)| {
                let value = self.seal(&name.to_string(), value)?;
                Some(Note { name, value, lasts })
            })
            .collect();
        self.0.state.keep(&notes, now).await
    }

    /// As [`SharedState::read`], of one name.
    ///
    /// # Errors
    /// The shared state's.
    pub async fn read(&self, name: Name, now: Timestamp) -> Result<Option<Vec<u8>>, SharedError> {
        let read = self.0.state.read(&[name], now).await?;
        let sealed = read.into_iter().next().flatten();
        Ok(sealed.and_then(|sealed| self.unseal(&name.to_string(), &sealed)))
    }

    /// The same of many names, in their order.
    ///
    /// # Errors
    /// The shared state's.
    pub async fn read_many(
        &self,
        names: &[Name],
        now: Timestamp,
    ) -> Result<Vec<Option<Vec<u8>>>, SharedError> {
        let read = self.0.state.read(names, now).await?;
        let unsealed = names
            .iter()
            .zip(read)
            .map(|(name, sealed)| self.unseal(&name.to_string(), &sealed?));
        Ok(unsealed.collect())
    }

    /// As [`SharedState::tell`].
    ///
    /// # Errors
    /// The shared state's.
    pub async fn tell(&self, topic: Topic, message: Vec<u8>) -> Result<(), SharedError> {
        match self.seal(topic.as_str(), message) {
            Some(sealed) => self.0.state.tell(topic, &sealed).await,
            None => Ok(()),
        }
    }

    /// As [`SharedState::send`].
    ///
    /// # Errors
    /// The shared state's.
    pub async fn send(&self, to: Uuid, message: Vec<u8>) -> Result<bool, SharedError> {
        match self.seal(LETTER, message) {
            Some(sealed) => self.0.state.send(to, &sealed).await,
            None => Ok(false),
        }
    }

    /// As [`SharedState::letters`].
    pub fn letters(&self) -> SealedNews {
        SealedNews {
            incoming: self.0.state.letters(),
            state: self.clone(),
            about: LETTER,
        }
    }

    /// As [`SharedState::hear`].
    pub fn hear(&self, topic: Topic) -> SealedNews {
        SealedNews {
            incoming: self.0.state.hear(topic),
            state: self.clone(),
            about: topic.as_str(),
        }
    }

    fn seal(&self, about: &str, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let tag = self.0.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(about.as_bytes()),
            &mut bytes,
        );
        let tag = tag.ok()?;
        Some([&nonce[..], &bytes, tag.as_ref()].concat())
    }

    fn unseal(&self, about: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut rest = rest.to_vec();
        let opened = self
            .0
            .key
            .open_in_place(nonce, Aad::from(about.as_bytes()), &mut rest);
        opened.ok().map(|opened| opened.to_vec())
    }
}

impl fmt::Debug for SealedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedState").finish_non_exhaustive()
    }
}

/// What other processes tell of a topic, or send to this one.
pub struct SealedNews {
    incoming: broadcast::Receiver<Heard>,
    state: SealedState,
    about: &'static str,
}

impl SealedNews {
    /// The next message with who says it; none inside: something may have been lost. None: no more comes.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) -> Option<Option<(Uuid, Vec<u8>)>> {
        loop {
            match self.incoming.recv().await {
                Ok(Heard::Told { from, message }) => {
                    // Of a process with another secret there is nothing to be heard.
                    if let Some(message) = self.state.unseal(self.about, &message) {
                        return Some(Some((from, message)));
                    }
                }
                Ok(Heard::Missed) | Err(broadcast::error::RecvError::Lagged(_)) => return Some(None),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl fmt::Debug for SealedNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedNews")
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}
