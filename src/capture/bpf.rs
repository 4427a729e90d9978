//! The classic BPF machine (McCanne and Jacobson, 1993; `bpf(4)` of the BSDs) for filters over captured frames.
//!
//! Ours, since libpcap's own entry point takes one length for both what was captured and what was on the wire, so that `len`,
//! `greater` and `less` are wrong on cut frames. Start at [`Program::run`].

/// The machine's scratch memory, in words.
const MEMORY_WORDS: usize = 16;

/// `protochain` goes around once for each header; what isn't done after so many steps never is.
const MOST_STEPS: usize = 100_000;

/// One instruction, as `struct bpf_insn` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Class, size, mode and operation.
    pub(super) code: u16,
    /// How many instructions to skip when a test holds.
    pub(super) jump_true: u8,
    /// How many when it does not.
    pub(super) jump_false: u8,
    /// The constant.
    pub(super) k: u32,
}

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program(pub(super) Vec<Instruction>);

impl Program {
    /// What the filter returns for a frame: 0 leaves it out. `wire_length` is its length when it was captured. A load from beyond
    /// what was captured leaves the frame out, as in the kernel; so does an instruction that this machine does not have.
    pub(super) fn run(&self, frame: &[u8], wire_length: u32) -> u32 {
        self.run_with(frame, wire_length, |_, _| None)
    }

    /// The same; `outside` has what lies at an offset beyond the frame, of the size in the code.
    pub(super) fn run_with(&self, frame: &[u8], wire_length: u32, outside: impl Fn(u32, u16) -> Option<u32>) -> u32 {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; MEMORY_WORDS]);
        let mut next = 0usize;
        for _ in 0..MOST_STEPS {
            let Some(&Instruction { code, jump_true, jump_false, k }) = self.0.get(next) else { return 0 };
            next += 1;
            match code & 0x07 {
                0x00 | 0x01 => {
                    let index = usize::try_from(k).unwrap_or(usize::MAX);
                    let loaded = match code & 0xe0 {
                        0x00 => Some(k),
                        0x20 => load(frame, k, code).or_else(|| outside(k, code)),
                        0x40 => k.checked_add(x).and_then(|at| load(frame, at, code)),
                        0x60 => memory.get(index).copied(),
                        0x80 => Some(wire_length),
                        // Four times the low half of a byte: the length of an IPv4 header.
                        0xa0 => frame.get(index).map(|byte| u32::from(byte & 0x0f) * 4),
                        _ => None,
                    };
                    let Some(loaded) = loaded else { return 0 };
                    if code & 0x07 == 0 { a = loaded } else { x = loaded }
                }
                0x02 | 0x03 => {
                    let value = if code & 0x07 == 0x02 { a } else { x };
                    let Some(word) = usize::try_from(k).ok().and_then(|index| memory.get_mut(index)) else { return 0 };
                    *word = value;
                }
                0x04 => {
                    let operand = if code & 0x08 == 0 { k } else { x };
                    let Some(result) = arithmetic(code & 0xf0, a, operand) else { return 0 };
                    a = result;
                }
                0x05 => {
                    let operand = if code & 0x08 == 0 { k } else { x };
                    let holds = match code & 0xf0 {
                        0x00 => {
                            // Backwards too, as `protochain` does.
                            let distance = isize::try_from(k.cast_signed()).unwrap_or(isize::MAX);
                            let Some(target) = next.checked_add_signed(distance) else { return 0 };
                            next = target;
                            continue;
                        }
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        0x40 => a & operand != 0,
                        _ => return 0,
                    };
                    next += usize::from(if holds { jump_true } else { jump_false });
                }
                0x06 => return if code & 0x18 == 0x10 { a } else { k },
                _ if code & 0xf8 == 0 => x = a,
                _ => a = x,
            }
        }
        0
    }
}

/// A big-endian number of 4, 2 or 1 bytes.
pub(super) fn load(frame: &[u8], at: u32, code: u16) -> Option<u32> {
    let tail = frame.get(usize::try_from(at).ok()?..)?;
    match code & 0x18 {
        0x00 => tail.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)),
        0x08 => tail.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes).into()),
        0x10 => tail.first().map(|byte| u32::from(*byte)),
        _ => None,
    }
}

fn arithmetic(operation: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match operation {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        0x60 => a.checked_shl(operand).unwrap_or(0),
        0x70 => a.checked_shr(operand).unwrap_or(0),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(operand)?,
        0xa0 => a ^ operand,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Instruction, Program};

    fn instruction() -> impl Strategy<Value = Instruction> {
        (any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>())
            .prop_map(|(code, jump_true, jump_false, k)| Instruction { code: code & 0xff, jump_true, jump_false, k })
    }

    proptest! {
        #[test]
        fn no_program_and_no_frame_make_it_panic(
            program in proptest::collection::vec(instruction(), 0..40),
            frame in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            Program(program).run(&frame, 1500);
        }
    }

    #[test]
    fn the_length_is_the_one_on_the_wire() {
        let of = |code, k| Instruction { code, jump_true: 0, jump_false: 0, k };
        assert_eq!(Program(vec![of(0x80, 0), of(0x16, 0)]).run(&[0; 10], 1234), 1234);
    }
}
