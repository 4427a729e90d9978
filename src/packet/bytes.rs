//! Reading and writing big-endian fields at an offset; outside the bytes there is nothing to read and writing does nothing.

/// `N` bytes at `at`, where they are all there.
#[inline]
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    // Cheaper than to look for the first `N` of the rest: one comparison, where the sum can't overflow.
    let end = at.checked_add(N)?;
    bytes.get(at..end)?.first_chunk().copied()
}

#[inline]
pub(crate) fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

#[inline]
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, new: [u8; N]) {
    if let Some(end) = at.checked_add(N)
        && let Some(place) = bytes.get_mut(at..end).and_then(|place| place.first_chunk_mut())
    {
        *place = new;
    }
}
