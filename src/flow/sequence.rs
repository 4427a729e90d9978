//! What sequence numbers say: whether messages, flows or records are missing.

use super::header::Format;

/// The numbers of one exporter, for one session or for one source of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sequence {
    next: Option<u32>,
}

/// What a sequence number says, compared to the one that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is what was expected, or nothing was: it is the first, or comes after something that could not be counted.
    Expected,
    /// So many are missing.
    Gap(u32),
    /// It is lower: messages in another order, again, or an exporter that has started anew.
    Back,
}

/// What sequence numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Flows before the message.
    Flow,
    /// Messages.
    Message,
    /// Data records before the message.
    Record,
    /// Datagrams.
    Datagram,
    /// Samples of one source.
    Sample,
}

impl Counted {
    /// One of them, in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Message => "message",
            Self::Record => "record",
            Self::Datagram => "datagram",
            Self::Sample => "sample",
        }
    }
}

impl Sequence {
    /// Adds a message or sample with this number, which counts `counted` up to the next; `None` where that is not known.
    ///
    /// NetFlow v5 and v7 count flows before the message, v9 messages (RFC 3954 §5.1), IPFIX data records before the message, with those of options
    /// (RFC 7011 §3.1), sFlow datagrams, and each of its sources samples.
    pub fn add(&mut self, number: u32, counted: Option<u32>) -> Step {
        let step = match self.next {
            None => Step::Expected,
            Some(next) if next == number => Step::Expected,
            // What is less than half a turn ahead is ahead.
            Some(next) if number.wrapping_sub(next) < 1 << 31 => Step::Gap(number.wrapping_sub(next)),
            Some(_) => Step::Back,
        };
        self.next = counted.map(|counted| number.wrapping_add(counted));
        step
    }
}

impl Format {
    /// What its sequence numbers count; `None` for NetFlow v1, which has none.
    pub const fn counts(self) -> Option<Counted> {
        match self {
            Self::NetflowV1 => None,
            Self::NetflowV5 | Self::NetflowV7 => Some(Counted::Flow),
            Self::NetflowV9 => Some(Counted::Message),
            Self::Ipfix => Some(Counted::Record),
            Self::Sflow5 => Some(Counted::Datagram),
        }
    }

    /// What a message counts up to the next one; `records` are its own, where they are known.
    pub const fn counted(self, records: Option<u32>) -> Option<u32> {
        match self.counts() {
            Some(Counted::Message | Counted::Datagram) => Some(1),
            _ => records,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_steps_back_are_told_apart_also_where_numbers_wrap() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.add(u32::MAX - 1, Some(3)), Step::Expected);
        assert_eq!(sequence.add(1, Some(3)), Step::Expected);
        assert_eq!(sequence.add(10, Some(3)), Step::Gap(6));
        assert_eq!(sequence.add(10, Some(3)), Step::Back);
        assert_eq!(sequence.add(13, None), Step::Expected);
        assert_eq!(sequence.add(99, Some(1)), Step::Expected, "it was not known");
    }
}
