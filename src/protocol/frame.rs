//! Encoded messages: once for all receivers, or once with what each of them alone may see.

use std::ops::Range;

use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::game::Seat;

/// One encoded message. Clones share its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Utf8Bytes);

impl Frame {
    /// `{"event": …, "data": …}`.
    #[must_use]
    pub fn event(event: &str, data: &impl Serialize) -> Self {
        let mut text = Vec::with_capacity(256);
        open_envelope(&mut text, event);
        push_json(&mut text, data);
        text.push(b'}');
        Self::from_json(text)
    }

    fn from_json(text: Vec<u8>) -> Self {
        // serde_json writes UTF-8 only, so nothing is ever replaced here.
        let text = String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into());
        Self(text.into())
    }

    /// The text, as it goes to the socket.
    #[must_use]
    pub fn into_text(self) -> Utf8Bytes {
        self.0
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// One message for all around a table: what is the same for all is encoded once, what one seat alone may see stands
/// aside and is put in for that seat only.
#[derive(Debug)]
pub struct Broadcast {
    common: Vec<u8>,
    /// The texts that differ, one behind the other.
    asides: Vec<u8>,
    secrets: Vec<Secret>,
}

/// A place in the common text that reads differently for one seat.
#[derive(Debug)]
struct Secret {
    at: usize,
    seat: Seat,
    own: Range<usize>,
    others: Range<usize>,
}

impl Broadcast {
    /// Begins a message; [`close`](Self::close) ends it.
    pub(super) fn open(event: &str) -> Self {
        let mut common = Vec::with_capacity(3 * 1024);
        open_envelope(&mut common, event);
        Self { common, asides: Vec::with_capacity(1024), secrets: Vec::with_capacity(8) }
    }

    /// Ends the message's envelope.
    pub(super) fn close(mut self) -> Self {
        self.common.push(b'}');
        self
    }

    /// Adds text that is JSON already.
    pub(super) fn push(&mut self, json: &str) {
        self.common.extend_from_slice(json.as_bytes());
    }

    /// Adds a value.
    pub(super) fn push_json(&mut self, value: &impl Serialize) {
        push_json(&mut self.common, value);
    }

    /// Adds the fields of a value that is an object, without its braces.
    pub(super) fn push_fields(&mut self, object: &impl Serialize) {
        let open = self.common.len();
        push_json(&mut self.common, object);
        debug_assert_eq!(self.common.get(open), Some(&b'{'), "only objects have fields");
        self.common.remove(open);
        self.common.pop();
    }

    /// Adds a value that `seat` gets as `own` and everybody else as `others`.
    pub(super) fn push_secret(&mut self, seat: Seat, own: &impl Serialize, others: &impl Serialize) {
        let start = self.asides.len();
        push_json(&mut self.asides, own);
        let middle = self.asides.len();
        push_json(&mut self.asides, others);
        let end = self.asides.len();
        self.secrets.push(Secret { at: self.common.len(), seat, own: start..middle, others: middle..end });
    }

    /// The message as one receiver gets it: the player at a seat, or (`None`) somebody watching.
    #[must_use]
    pub fn frame(&self, receiver: Option<Seat>) -> Frame {
        let mut text = Vec::with_capacity(self.common.len() + self.asides.len());
        let mut copied = 0;
        for secret in &self.secrets {
            let aside = if receiver == Some(secret.seat) { &secret.own } else { &secret.others };
            // Both ranges were made by push_secret() and lie within their buffers.
            text.extend_from_slice(self.common.get(copied..secret.at).unwrap_or_default());
            text.extend_from_slice(self.asides.get(aside.clone()).unwrap_or_default());
            copied = secret.at;
        }
        text.extend_from_slice(self.common.get(copied..).unwrap_or_default());
        Frame::from_json(text)
    }
}

fn open_envelope(text: &mut Vec<u8>, event: &str) {
    text.extend_from_slice(b"{\"event\":");
    push_json(text, &event);
    text.extend_from_slice(b",\"data\":");
}

#[expect(clippy::expect_used, reason = "writing to memory does not fail, and all our keys are strings")]
fn push_json(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value).expect("our messages are serialisable");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reaches_its_seat_only() {
        let mut broadcast = Broadcast::open("x");
        broadcast.push("[");
        broadcast.push_secret(Seat::Two, &"mine", &"hidden");
        broadcast.push(",");
        broadcast.push_secret(Seat::Three, &3, &0);
        broadcast.push("]");
        let broadcast = broadcast.close();
        assert_eq!(broadcast.frame(Some(Seat::Two)).as_str(), r#"{"event":"x","data":["mine",0]}"#);
        assert_eq!(broadcast.frame(Some(Seat::Three)).as_str(), r#"{"event":"x","data":["hidden",3]}"#);
        assert_eq!(broadcast.frame(Some(Seat::One)).as_str(), r#"{"event":"x","data":["hidden",0]}"#);
        assert_eq!(broadcast.frame(None).as_str(), r#"{"event":"x","data":["hidden",0]}"#);
    }
}
