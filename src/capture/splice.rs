//! Frames that become a few bytes longer or shorter while they are swept.

/// What is changed of the bytes of a frame: those from `at` on, so many of them, become others. They must all be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Splice<'a> {
    pub(crate) at: usize,
    pub(crate) removed: usize,
    pub(crate) inserted: &'a [u8],
}

/// What becomes of a frame that is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept<'a> {
    /// Nothing was done to it.
    Declined,
    /// It is as it shall be.
    Done,
    /// It is but for this. All of it was captured.
    Spliced(Splice<'a>),
}

impl Splice<'_> {
    /// How long a frame is then that is `length` bytes long; one that says that it has less than is removed keeps its length.
    #[inline]
    pub(crate) fn length(&self, length: u32) -> u32 {
        let [more, less] = [self.inserted.len(), self.removed].map(|bytes| u32::try_from(bytes).unwrap_or_default());
        length.saturating_add(more).checked_sub(less).unwrap_or(length)
    }

    /// Writes the frame as it is then into `to`.
    #[inline]
    pub(crate) fn copy(&self, frame: &[u8], to: &mut Vec<u8>) {
        let (front, rest) = frame.split_at_checked(self.at).unwrap_or((frame, &[]));
        to.clear();
        to.extend_from_slice(front);
        to.extend_from_slice(self.inserted);
        to.extend_from_slice(rest.get(self.removed..).unwrap_or_default());
    }
}
