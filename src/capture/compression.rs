//! gzip and zstd: recognised by content where a capture is read, chosen by ending where one is written.
//!
//! Memory is flat: what is unpacked streams through, several members or frames one after the other. Start at [`Compression`].

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use zstd::stream::read::Decoder as ZstdDecoder;
use zstd::stream::write::Encoder as ZstdEncoder;

/// How a capture is compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Compressed bytes are read in pieces of this size.
const PIECE: usize = 64 << 10;

impl Compression {
    /// What a file that begins with `start` is compressed with, if it is.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one to be skipped: some writers begin with such.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its name for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The program that unpacks a file to its standard output, damaged or not.
    pub(super) fn unpacker(self) -> &'static str {
        match self {
            Self::Gzip => "gzip -dc",
            Self::Zstd => "zstd -dc",
        }
    }

    /// Unpacks as it is read.
    pub(super) fn unpack(self, file: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        let file = BufReader::with_capacity(PIECE, file);
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Zstd => Box::new(ZstdDecoder::with_buffer(file)?),
        })
    }
}

/// What is wrong with compressed bytes, said by the error of unpacking them; `None` where reading them failed.
pub(super) fn damage(compression: Compression, error: &io::Error) -> Option<String> {
    let name = compression.name();
    match error.kind() {
        _ if error.raw_os_error().is_some() => None,
        io::ErrorKind::UnexpectedEof => Some(format!("the file ends before its {name} compression does")),
        _ => Some(format!("its {name} compression is damaged ({error})")),
    }
}

/// A file that is compressed as it is written. Its end is written by `flush`, which is to be called once, at the end.
pub(crate) enum Packed {
    /// As it is.
    Plain(File),
    /// As one member, at level 1: of captures four times as fast as level 6, and 18 % larger. Who wants a small file takes zstd.
    Gzip(GzEncoder<File>),
    /// As one frame with a checksum.
    Zstd(ZstdEncoder<'static, File>),
}

impl Packed {
    /// Begins the file.
    pub(crate) fn new(compression: Option<Compression>, file: File) -> io::Result<Self> {
        Ok(match compression {
            None => Self::Plain(file),
            Some(Compression::Gzip) => Self::Gzip(GzEncoder::new(file, flate2::Compression::fast())),
            Some(Compression::Zstd) => {
                let mut encoder = ZstdEncoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.try_finish(),
            Self::Zstd(encoder) => encoder.do_finish(),
        }
    }
}
