//! A field that maps change: read, looked up, written, counted, with the change that a checksum needs.

use super::SideTables;
use super::rewrite_stats::RewriteStats;
use crate::packet::MacAddr;
use crate::packet::bytes::{array, put};
use crate::packet::checksum::Change;

/// What a field of `N` bytes holds.
pub(super) trait Value<const N: usize>: Copy {
    fn read(bytes: [u8; N]) -> Self;
    fn bytes(self) -> [u8; N];
    /// What it becomes, and by which entry.
    fn lookup(self, side: &SideTables) -> Option<(Self, usize)>;
    fn change(self, new: Self) -> Change;
}

macro_rules! values {
    ($($value:ty, $bytes:literal, $read:expr, $write:expr, $table:ident, $change:path;)*) => {$(
        impl Value<$bytes> for $value {
            #[inline]
            fn read(bytes: [u8; $bytes]) -> Self {
                $read(bytes)
            }

            #[inline]
            fn bytes(self) -> [u8; $bytes] {
                $write(self)
            }

            #[inline]
            fn lookup(self, side: &SideTables) -> Option<(Self, usize)> {
                side.$table.map(self)
            }

            #[inline]
            fn change(self, new: Self) -> Change {
                $change(self, new)
            }
        }
    )*};
}

const fn octets(mac: MacAddr) -> [u8; 6] {
    mac.0
}

values! {
    u16, 2, u16::from_be_bytes, u16::to_be_bytes, port, Change::word;
    u32, 4, u32::from_be_bytes, u32::to_be_bytes, v4, Change::double;
    u128, 16, u128::from_be_bytes, u128::to_be_bytes, v6, Change::address;
    MacAddr, 6, MacAddr, octets, mac, Change::mac;
}

/// Maps a field that holds a `V`; `None` where no entry names its value.
#[inline]
pub(super) fn map_in<V: Value<N>, const N: usize>(
    side: &SideTables,
    field: &mut [u8; N],
    stats: &mut RewriteStats,
) -> Option<Change> {
    let old = V::read(*field);
    let (new, entry) = old.lookup(side)?;
    *field = new.bytes();
    stats.count(entry);
    Some(old.change(new))
}

/// The same for the field at `at`, where it was captured.
#[inline]
pub(super) fn map_at<V: Value<N>, const N: usize>(
    side: &SideTables,
    at: usize,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Option<Change> {
    let mut field = array(frame, at)?;
    let change = map_in::<V, N>(side, &mut field, stats)?;
    put(frame, at, field);
    Some(change)
}

#[inline]
pub(super) fn v4_at(side: &SideTables, at: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    map_at::<u32, 4>(side, at, frame, stats).unwrap_or(Change::NONE)
}

pub(super) fn v6_at(side: &SideTables, at: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    map_at::<u128, 16>(side, at, frame, stats).unwrap_or(Change::NONE)
}

pub(super) fn mac_at(side: &SideTables, at: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    map_at::<MacAddr, 6>(side, at, frame, stats).unwrap_or(Change::NONE)
}
