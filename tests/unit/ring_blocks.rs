//! Blocks of a receive ring, as the kernel hands them over.

use proptest::prelude::*;

use super::*;

/// A block of two frames, the second with a tag.
fn block() -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(BLOCK_FRAMES, &2u32.to_ne_bytes());
    put(BLOCK_FIRST, &48u32.to_ne_bytes());
    for (start, next, frame, vlan) in
        [(48, 176u32, &b"receiversendertype"[..], None), (224, 0, b"toother_from_us_IP", Some(0x6064u32))]
    {
        put(start, &next.to_ne_bytes());
        put(start + offset_of!(libc::tpacket3_hdr, tp_sec), &3u32.to_ne_bytes());
        put(start + offset_of!(libc::tpacket3_hdr, tp_nsec), &5u32.to_ne_bytes());
        put(start + offset_of!(libc::tpacket3_hdr, tp_snaplen), &18u32.to_ne_bytes());
        put(start + offset_of!(libc::tpacket3_hdr, tp_len), &20u32.to_ne_bytes());
        put(start + offset_of!(libc::tpacket3_hdr, tp_mac), &82u16.to_ne_bytes());
        put(start + 82, frame);
        if let Some(vlan) = vlan {
            put(start + offset_of!(libc::tpacket3_hdr, tp_status), &libc::TP_STATUS_VLAN_VALID.to_ne_bytes());
            put(start + offset_of!(libc::tpacket3_hdr, hv1) + 4, &vlan.to_ne_bytes());
        }
    }
    block
}

#[test]
fn a_truncated_frame_has_its_original_length() {
    let block = block();
    let mut room = Vec::new();
    let mut seen = Vec::new();
    let mut keep = |frame: Frame<'_>| {
        let frame = frame.seen(&mut room);
        seen.push((frame.bytes.to_vec(), frame.original_length, frame.time_ns));
    };
    assert_eq!(frames_of(&block, &mut keep), Some(()));
    assert_eq!(seen[0], (b"receiversendertype".to_vec(), 20, 3_000_000_005));
    // Without TP_STATUS_VLAN_TPID_VALID the tag was of the only kind that old kernels knew.
    assert_eq!(seen[1], (b"toother_from\x81\x00\x60\x64_us_IP".to_vec(), 24, 3_000_000_005));
}

proptest! {
    #[test]
    fn no_block_makes_the_reader_panic_or_hang(changes in proptest::collection::vec((0..512usize, any::<u8>()), 0..12)) {
        let mut block = block();
        for (offset, byte) in changes {
            block[offset] = byte;
        }
        let mut count = 0;
        let mut room = Vec::new();
        let whole = frames_of(&block, &mut |frame| {
            frame.seen(&mut room);
            count += 1;
        });
        prop_assert!(count <= 512);
        prop_assert!(whole.is_none() || count == u32_at(&block, BLOCK_FRAMES).unwrap());
    }
}
