use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrayvec::ArrayVec;
use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::protocol::Frame;

/// How many messages go to a socket in one system call.
const BATCH: usize = 8;

/// Messages for one socket: gathered, then written together, straight from the bytes they share with all other receivers.
/// Nothing is copied, and an idle socket holds no write buffer.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    texts: ArrayVec<Utf8Bytes, BATCH>,
    /// How much of the first one is written, its header included.
    written: usize,
}

impl Outgoing {
    /// Adds a message. There must be room for it.
    pub(super) fn push(&mut self, frame: Frame) {
        debug_assert!(!self.is_full(), "checked by the caller");
        self.texts.push(frame.into_text());
    }

    pub(super) fn is_full(&self) -> bool {
        self.texts.is_full()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// How many messages there are, and the bytes of their texts.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.texts.len(), self.texts.iter().map(|text| text.len()).sum())
    }

    /// Drops messages of which nothing has been written, before a close frame is sent.
    pub(super) fn drop_unwritten(&mut self) {
        self.texts.truncate(usize::from(self.written > 0));
    }

    /// Writes until nothing is left, here or in the stream's own buffer.
    ///
    /// # Errors
    /// Those of the stream.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let headers: ArrayVec<_, BATCH> = self.texts.iter().map(header).collect();
            let written = {
                let mut slices: ArrayVec<IoSlice<'_>, { 2 * BATCH }> = ArrayVec::new();
                for (header, text) in headers.iter().zip(&self.texts) {
                    slices.push(IoSlice::new(header));
                    slices.push(IoSlice::new(text.as_bytes()));
                }
                let mut unwritten = slices.as_mut_slice();
                IoSlice::advance_slices(&mut unwritten, self.written);
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, unwritten))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            let lengths = headers.iter().zip(&self.texts).map(|(header, text)| header.len() + text.len());
            let mut done = 0;
            for length in lengths {
                if self.written < length {
                    break;
                }
                self.written -= length;
                done += 1;
            }
            self.texts.drain(..done);
        }
        Pin::new(stream).poll_flush(cx)
    }
}

/// The header of a whole, unmasked text message.
fn header(text: &Utf8Bytes) -> ArrayVec<u8, 10> {
    let mut bytes = ArrayVec::new();
    // Ten bytes are room enough for any.
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    header.format(text.len() as u64, &mut bytes).ok();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;
    use proptest::prelude::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    fn frame(length: usize) -> Frame {
        Frame::event("x", &json!("y".repeat(length)))
    }

    /// Writes through a pipe that takes `room` bytes at a time, and reads what comes out as a client would.
    async fn through_a_pipe(lengths: &[usize], room: usize) -> Vec<String> {
        let (client, mut server) = tokio::io::duplex(room);
        let mut outgoing = Outgoing::default();
        lengths.iter().for_each(|length| outgoing.push(frame(*length)));
        let writing = tokio::spawn(async move {
            std::future::poll_fn(|cx| outgoing.poll_write(&mut server, cx)).await.unwrap();
            assert!(outgoing.is_empty() && outgoing.written == 0);
            server.shutdown().await.unwrap();
        });
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let texts = client
            .filter_map(async |message| match message {
                Ok(Message::Text(text)) => Some(text.to_string()),
                _ => None,
            })
            .collect()
            .await;
        writing.await.unwrap();
        texts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn clients_read_what_was_written(
            lengths in prop::collection::vec(prop::sample::select(vec![0, 1, 97, 98, 99, 2_000, 65_508, 65_509, 70_000]), 0..=BATCH),
            room in prop::sample::select(vec![1, 7, 1_000, 1_000_000]),
        ) {
            // A byte at a time is slow; short messages show as much.
            let lengths: Vec<usize> = if room < 10 { lengths.iter().map(|length| length % 300).collect() } else { lengths };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let texts = runtime.block_on(through_a_pipe(&lengths, room));
            let expected: Vec<String> = lengths.iter().map(|length| frame(*length).as_str().to_owned()).collect();
            prop_assert_eq!(texts, expected);
        }
    }

    #[tokio::test]
    async fn dropping_unwritten_messages_leaves_a_whole_one() {
        let (mut client, mut server) = tokio::io::duplex(10);
        let mut outgoing = Outgoing::default();
        outgoing.push(frame(100));
        outgoing.push(frame(100));
        let begun = outgoing.poll_write(&mut server, &mut Context::from_waker(std::task::Waker::noop()));
        assert!(begun.is_pending());
        outgoing.drop_unwritten();
        let writing = async {
            std::future::poll_fn(|cx| outgoing.poll_write(&mut server, cx)).await.unwrap();
            drop(server);
        };
        let mut bytes = Vec::new();
        let (_, read) = tokio::join!(writing, client.read_to_end(&mut bytes));
        assert_eq!(read.unwrap(), 2 + frame(100).as_str().len(), "one message with its header, whole");

        let mut unbegun = Outgoing::default();
        unbegun.push(frame(1));
        unbegun.drop_unwritten();
        assert!(unbegun.is_empty());
    }
}
