//! Finds frames in any heap of bytes, whatever happened to their neighbours.

/// One stretch of bytes: a whole frame, or bytes that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch<T> {
    /// A whole frame that begins here.
    Frame {
        /// Where.
        at: usize,
        /// The frame.
        frame: T,
    },
    /// Bytes that belong to no whole frame.
    Garbage {
        /// How many.
        length: usize,
    },
}

/// Walks through `bytes`, from frame to frame and over whatever lies between them. `parse` returns the whole frame at the start
/// of bytes and its length; every frame begins with `magic`, and only where that is found is `parse` asked.
pub(crate) fn walk<'a, T: 'a>(
    bytes: &'a [u8],
    magic: &'a [u8],
    parse: impl Fn(&'a [u8]) -> Option<(T, usize)> + 'a,
) -> impl Iterator<Item = Stretch<T>> + 'a {
    let finder = memchr::memmem::Finder::new(magic);
    let mut at = 0;
    let mut ahead: Option<(T, usize)> = None;
    std::iter::from_fn(move || {
        let start = at;
        if let Some((frame, length)) = ahead.take() {
            at += length;
            return Some(Stretch::Frame { at: start, frame });
        }
        let mut next = start;
        while let Some(found) = bytes.get(next..).and_then(|rest| finder.find(rest)) {
            next += found;
            if let Some((frame, length)) = bytes.get(next..).and_then(&parse) {
                if next == start {
                    at = start + length;
                    return Some(Stretch::Frame { at: start, frame });
                }
                at = next;
                ahead = Some((frame, length));
                return Some(Stretch::Garbage { length: next - start });
            }
            next += 1;
        }
        at = bytes.len();
        (start < at).then_some(Stretch::Garbage { length: at - start })
    })
}
