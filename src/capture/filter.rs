//! Choosing frames by a pcap-filter(7) expression, exactly as tcpdump takes it.
//!
//! libpcap compiles, once for each link type that occurs; the program runs here, with both lengths of a frame. Start at
//! [`Filter::compile`].

use pcap::{Capture, Linktype};

use super::Frame;
use super::bpf::{Instruction, Program};
use super::filter_words;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::packet::layers::LinkType;

/// A filter expression, compiled for the link types that occurred so far.
#[derive(Debug, Clone)]
pub struct Filter {
    expression: String,
    /// Whether it says `vlan`, so that it looks behind VLAN tags where it was meant to.
    pub says_vlan: bool,
    programs: Vec<(LinkType, Program)>,
}

impl Filter {
    /// Compiles an expression for Ethernet; other link types follow when they occur.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] with libpcap's message, or for a word that libpcap would look up in the name service.
    pub fn compile(expression: &str) -> Result<Self> {
        filter_words::check(expression).map_err(Failure::invalid)?;
        let says_vlan = filter_words::says(expression, "vlan");
        let mut filter = Self { expression: expression.to_owned(), says_vlan, programs: Vec::new() };
        // An expression about another link type only (`wlan …`) does not compile for Ethernet; that shows when frames come.
        match compile(expression, LinkType::ETHERNET) {
            Ok(program) => filter.programs.push((LinkType::ETHERNET, program)),
            Err(message) if message.contains("syntax error") || message.contains("unknown") => {
                return Err(refused(expression, None, &message));
            }
            Err(_) => {}
        }
        Ok(filter)
    }

    /// Whether the filter takes the frame.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] when the expression does not compile for the frame's link type.
    pub fn matches(&mut self, frame: &Frame<'_>) -> Result<bool> {
        let known = self.programs.iter().position(|(link, _)| *link == frame.link);
        let index = match known {
            Some(index) => index,
            None => {
                let program = compile(&self.expression, frame.link)
                    .map_err(|message| refused(&self.expression, Some(frame), &message))?;
                self.programs.push((frame.link, program));
                self.programs.len() - 1
            }
        };
        Ok(self.programs.get(index).is_some_and(|(_, program)| program.run(frame.bytes, frame.original_length) != 0))
    }
}

/// An expression for what `expression` says, of frames without a VLAN tag and behind up to so many tags.
pub fn behind_tags(expression: &str, tags: usize) -> String {
    let plain = expression.to_owned();
    (0..tags).fold(plain, |behind, _| format!("({expression}) or (vlan and ({behind}))"))
}

/// libpcap's program for a link type; its message if there is none.
fn compile(expression: &str, link: LinkType) -> std::result::Result<Program, String> {
    let message = |error: pcap::Error| match error {
        pcap::Error::PcapError(message) => message,
        other => other.to_string(),
    };
    let dead = Capture::dead(Linktype(dlt(link))).map_err(message)?;
    let program = dead.compile(expression, true).map_err(message)?;
    let instructions = program.get_instructions().iter().map(|instruction| {
        // The crate shows an instruction only as text: code, jump if true, jump if false, constant.
        let text = instruction.to_string();
        let mut fields = text.split(' ').map(|field| field.parse::<u32>().ok());
        let mut field = || fields.next().flatten();
        let narrow = |value: Option<u32>| value.and_then(|value| u8::try_from(value).ok());
        Some(Instruction {
            code: field().and_then(|code| u16::try_from(code).ok())?,
            jump_true: narrow(field())?,
            jump_false: narrow(field())?,
            k: field()?,
        })
    });
    let instructions: Option<Vec<Instruction>> = instructions.collect();
    instructions.map(Program).ok_or_else(|| "the program that libpcap made can't be read".to_owned())
}

/// The number that libpcap knows a link type by: a few differ from those in files (`pcap-common.c` of libpcap: they differ between
/// systems, so files have numbers of their own).
fn dlt(link: LinkType) -> i32 {
    match link.0 {
        100 => 11,
        101 => 12,
        102 => 15,
        103 => 16,
        106 => 19,
        246 => 18,
        same => same.into(),
    }
}

fn refused(expression: &str, frame: Option<&Frame<'_>>, message: &str) -> Failure {
    let what = match frame {
        None => format!("the filter `{expression}` is not a pcap-filter expression"),
        Some(frame) => {
            format!(
                "the filter `{expression}` does not fit frame {}, whose link type is {}",
                frame.number, frame.link.0
            )
        }
    };
    Failure::invalid(Diagnostic::error(what).why(format!("libpcap says: {message}")).fix(match frame {
        None => "`tcpdump -d 'EXPRESSION'` tries an expression; its language is pcap-filter(7)",
        Some(_) => "write an expression that fits this link type, or choose frames with `frames`",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame<'a>(bytes: &'a mut [u8], original_length: u32, link: u16) -> Frame<'a> {
        Frame { number: 1, time_ns: 0, original_length, link: LinkType(link), bytes }
    }

    #[test]
    fn lengths_are_those_on_the_wire() {
        let mut filter = Filter::compile("greater 1000").expect("it compiles");
        assert!(filter.matches(&frame(&mut [0; 60], 1200, 1)).expect("it runs"));
        assert!(!filter.matches(&frame(&mut [0; 60], 60, 1)).expect("it runs"));
    }

    #[test]
    fn a_raw_ip_capture_has_its_own_program() {
        let mut packet = [0u8; 28];
        packet[0] = 0x45;
        packet[9] = 17;
        let mut filter = Filter::compile("udp").expect("it compiles");
        assert!(filter.matches(&frame(&mut packet, 28, 101)).expect("it runs"));
    }

    /// libpcap counts every `vlan` of an expression, wherever it is, so that only nested ones look behind one tag after the other.
    #[test]
    fn an_expression_for_tagged_frames_takes_them_and_those_without_a_tag() {
        let mut packet = [0u8; 42];
        packet[12] = 8;
        packet[14] = 0x45;
        packet[23] = 17;
        packet[37] = 53;
        for expression in ["udp", "udp port 53", "ip proto 17 or tcp", "not tcp and dst host 0.0.0.0"] {
            let mut filter = Filter::compile(&behind_tags(expression, 3)).expect("it compiles");
            for tags in 0..4 {
                let mut frame_bytes = packet.to_vec();
                for tag in 0..tags {
                    let tpid = if tag + 1 < tags { 0x88a8_u16 } else { 0x8100 }.to_be_bytes();
                    let at = 12 + 4 * tag;
                    frame_bytes.splice(at..at, [tpid[0], tpid[1], 0, 7]);
                }
                let length = u32::try_from(frame_bytes.len()).expect("a short frame");
                let taken = filter.matches(&frame(&mut frame_bytes, length, 1)).expect("it runs");
                assert!(taken, "`{expression}` behind {tags} tags");
            }
        }
    }

    #[test]
    fn a_wrong_expression_has_libpcaps_message() {
        let messages: Vec<String> = ["udp dst port", "(udp", "port nonsense-service", "vlan 5000"]
            .iter()
            .map(|expression| match Filter::compile(expression) {
                Ok(_) => format!("{expression}: compiles"),
                Err(failure) => crate::diagnostic::render(&failure.problems, crate::diagnostic::Style::Plain),
            })
            .collect();
        insta::assert_snapshot!(messages.join("\n"));
    }
}
