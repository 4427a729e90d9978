//! Small captures, and scenarios that replay them.

use std::fs;
use std::path::PathBuf;

use super::fresh_folder;

/// A UDP datagram over Ethernet and IPv4 with right checksums.
pub(crate) fn datagram(source: [u8; 4], destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    datagram_from((source, 40_000), (destination, port), payload)
}

/// The same from a port.
pub(crate) fn datagram_from(
    (source, from): ([u8; 4], u16),
    (destination, port): ([u8; 4], u16),
    payload: &[u8],
) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let sum = words.sum::<u32>();
        let folded = (sum & 0xffff) + (sum >> 16);
        !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")
    };
    let udp_length = u16::try_from(8 + payload.len()).expect("short");
    let mut udp = Vec::new();
    for field in [from, port, udp_length, 0] {
        udp.extend(u16::to_be_bytes(field));
    }
    udp.extend(payload);
    let mut pseudo = [source, destination].concat();
    pseudo.extend([0, 17]);
    pseudo.extend(udp_length.to_be_bytes());
    pseudo.extend(&udp);
    udp[6..8].copy_from_slice(&sum(&pseudo).to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_length).to_be_bytes());
    ip.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    ip.extend(source);
    ip.extend(destination);
    let header_sum = sum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&header_sum);
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0];
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// A pcap file of these frames, `gap_us` apart.
pub(crate) fn capture(frames: &[Vec<u8>], gap_us: u32) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0]);
    for (index, frame) in frames.iter().enumerate() {
        let time = u64::from(gap_us) * index as u64;
        let length = u32::try_from(frame.len()).expect("short");
        for field in [
            1_700_000_000 + u32::try_from(time / 1_000_000).expect("small"),
            u32::try_from(time % 1_000_000).expect("small"),
            length,
            length,
        ] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// So many datagrams to one port.
pub(crate) fn datagrams(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| datagram([10, 44, 1, 17], [10, 20, 9, 9], 4739, format!("datagram {index}").as_bytes()))
        .collect()
}

/// A folder with `in.pcap` and `s.toml`.
pub(crate) fn scenario(capture: &[u8], rest: &str) -> PathBuf {
    let folder = fresh_folder("run");
    fs::write(folder.join("in.pcap"), capture).expect("it can be written");
    fs::write(folder.join("s.toml"), format!("format = 1\n[capture]\nfile = \"in.pcap\"\n{rest}"))
        .expect("it can be written");
    folder
}
