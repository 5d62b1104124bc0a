//! Encoded messages: one text for all receivers, or one text with parts that only one seat may see.

use std::ops::Range;

use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::game::Seat;

/// One encoded message. Clones share its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Frame(Utf8Bytes);

impl Frame {
    /// `{"event": …, "data": …}`.
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
    pub fn into_text(self) -> Utf8Bytes {
        self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// One message for everybody at a table. What all receive is encoded once; what only one seat may see is kept apart and
/// inserted for that seat alone.
#[derive(Debug)]
#[must_use]
pub struct Broadcast {
    common: Vec<u8>,
    /// The texts that differ, one after the other.
    variants: Vec<u8>,
    secrets: Vec<Secret>,
}

/// A position in the common text where one seat reads something else than the others.
#[derive(Debug)]
struct Secret {
    at: usize,
    seat: Seat,
    own: Range<usize>,
    others: Range<usize>,
}

impl Broadcast {
    /// `{"event": …, "data": {…}}`, with the fields that `fields` adds.
    pub(super) fn event(event: &str, fields: impl FnOnce(&mut Self)) -> Self {
        let mut common = Vec::with_capacity(3 * 1024);
        open_envelope(&mut common, event);
        let mut message = Self { common, variants: Vec::with_capacity(1024), secrets: Vec::with_capacity(8) };
        message.object(fields);
        message.common.push(b'}');
        message
    }

    /// Adds a field to the open object.
    pub(super) fn field(&mut self, key: &str, value: &impl Serialize) {
        self.key(key);
        push_json(&mut self.common, value);
    }

    /// Adds a field that `seat` gets as `own` and everybody else as `others`.
    pub(super) fn secret_field(&mut self, key: &str, seat: Seat, own: &impl Serialize, others: &impl Serialize) {
        self.key(key);
        let start = self.variants.len();
        push_json(&mut self.variants, own);
        let middle = self.variants.len();
        push_json(&mut self.variants, others);
        let end = self.variants.len();
        self.secrets.push(Secret { at: self.common.len(), seat, own: start..middle, others: middle..end });
    }

    /// Adds a field that is an object, with the fields that `fields` adds.
    pub(super) fn object_field(&mut self, key: &str, fields: impl FnOnce(&mut Self)) {
        self.key(key);
        self.object(fields);
    }

    /// Adds a field that is a list of objects, one for each item.
    pub(super) fn list_field<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut fields: impl FnMut(&mut Self, T),
    ) {
        self.key(key);
        self.common.push(b'[');
        for item in items {
            if self.common.last() == Some(&b'}') {
                self.common.push(b',');
            }
            self.object(|message| fields(message, item));
        }
        self.common.push(b']');
    }

    fn object(&mut self, fields: impl FnOnce(&mut Self)) {
        self.common.push(b'{');
        fields(self);
        self.common.push(b'}');
    }

    fn key(&mut self, key: &str) {
        if self.common.last() != Some(&b'{') {
            self.common.push(b',');
        }
        push_json(&mut self.common, &key);
        self.common.push(b':');
    }

    /// The message as one receiver gets it: the player at a seat, or (`None`) a spectator.
    pub fn frame(&self, receiver: Option<Seat>) -> Frame {
        let mut text = Vec::with_capacity(self.common.len() + self.variants.len());
        let mut copied = 0;
        for secret in &self.secrets {
            let variant = if receiver == Some(secret.seat) { &secret.own } else { &secret.others };
            // Both ranges were made by secret_field() and lie within their buffers.
            text.extend_from_slice(self.common.get(copied..secret.at).unwrap_or_default());
            text.extend_from_slice(self.variants.get(variant.clone()).unwrap_or_default());
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
        let broadcast = Broadcast::event("x", |message| {
            message.secret_field("a", Seat::Two, &"mine", &"hidden");
            message.secret_field("b", Seat::Three, &3, &0);
            message.list_field("c", [1, 2], |message, number| message.field("{", &number));
            message.object_field("d", |_| ());
        });
        let text =
            |a, b| format!(r#"{{"event":"x","data":{{"a":"{a}","b":{b},"c":[{{"{{":1}},{{"{{":2}}],"d":{{}}}}}}"#);
        assert_eq!(broadcast.frame(Some(Seat::Two)).as_str(), text("mine", 0));
        assert_eq!(broadcast.frame(Some(Seat::Three)).as_str(), text("hidden", 3));
        assert_eq!(broadcast.frame(Some(Seat::One)).as_str(), text("hidden", 0));
        assert_eq!(broadcast.frame(None).as_str(), text("hidden", 0));
    }
}
