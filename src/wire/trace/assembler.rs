//! Instructions of the BPF machine, with labels (Documentation/bpf/standardization/instruction-set.rst).
//!
//! It checks nothing: the kernel's verifier does. Start at [`Assembler`].

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    /// Destination and source, 4 bits each.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A register. R1 to R5 are a helper's arguments and lost by the call, R0 is its result; R6 to R9 stay; R10 points to the end of the
/// stack of 512 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How much a load or store moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Size {
    Word = 0x00,
    Half = 0x08,
    Double = 0x18,
}

/// When a jump is taken; numbers are unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum If {
    /// All 64 bits are those of the number.
    Equal = 0x15,
    /// All 64 bits.
    Greater = 0x25,
    /// All 64 bits.
    NotEqual = 0x55,
    /// Any of the bits that are 1 in the number, too.
    AnyBit = 0x45,
    /// The low 32 bits are those of the number.
    Equal32 = 0x16,
    /// The low 32 bits are not those of the number.
    NotEqual32 = 0x56,
}

/// The number of a helper in `enum bpf_func_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Helper {
    /// R0: the address of the value of the key at R2 in the map R1; 0 where there is none.
    MapLookup = 1,
    /// Stores the value at R3 for the key at R2 in the map R1, with the flags R4; R0 is 0, or else negative.
    MapUpdate = 2,
    /// R0: nanoseconds of `CLOCK_MONOTONIC`.
    KtimeGetNs = 5,
    /// R0: the address of the `task_struct`.
    GetCurrentTask = 35,
    /// Copies R2 bytes at the kernel's address R3 to R1; R0 is 0, or else R1 is filled with zeros.
    ProbeReadKernel = 113,
    /// Puts R3 bytes at R2 into the ring R1 with the flags R4; R0 is 0, or negative where there is no room.
    RingbufOutput = 130,
    /// Writes pid and tgid, u32 each, of the current task to R3 (8 bytes, the length in R4), as its pid namespace numbers them, if that is the one
    /// with the device R1 and the inode number R2; else R0 is not 0.
    GetNsCurrentPidTgid = 120,
    /// R0: what R2 asks about the ring R1; 0 for how many bytes of it are written and not yet read.
    RingbufQuery = 134,
    /// Writes to R1, of R2 bytes, the text R3, in which the R5 bytes at R4 are put in their places, u64 each (Linux 5.13).
    Snprintf = 165,
}

/// A place to jump to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label stands.
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that doesn't stand anywhere yet.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts the label before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.instructions.len();
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from as u8, 0, 0);
    }

    /// `to = from`, the low 32 bits; the others become 0.
    pub(super) fn copy32(&mut self, to: Register, from: Register) {
        self.push(0xbc, to, from as u8, 0, 0);
    }

    /// `to = number`
    pub(super) fn set(&mut self, to: Register, number: i32) {
        self.push(0xb7, to, 0, 0, number);
    }

    /// `to = number`, the low 32 bits; the others become 0.
    pub(super) fn set32(&mut self, to: Register, number: u32) {
        self.push(0xb4, to, 0, 0, number.cast_signed());
    }

    /// `to += number`
    pub(super) fn add_number(&mut self, to: Register, number: i32) {
        self.push(0x07, to, 0, 0, number);
    }

    /// `to += from`
    pub(super) fn add(&mut self, to: Register, from: Register) {
        self.push(0x0f, to, from as u8, 0, 0);
    }

    /// `to -= from`
    pub(super) fn subtract(&mut self, to: Register, from: Register) {
        self.push(0x1f, to, from as u8, 0, 0);
    }

    /// `to <<= bits`
    pub(super) fn shift_left(&mut self, to: Register, bits: i32) {
        self.push(0x67, to, 0, 0, bits);
    }

    /// `to = *(base + offset)`
    pub(super) fn load(&mut self, size: Size, to: Register, base: Register, offset: i16) {
        self.push(0x61 | size as u8, to, base as u8, offset, 0);
    }

    /// `*(base + offset) = from`
    pub(super) fn store(&mut self, size: Size, base: Register, offset: i16, from: Register) {
        self.push(0x63 | size as u8, base, from as u8, offset, 0);
    }

    /// `*(base + offset) = number`
    pub(super) fn store_number(&mut self, size: Size, base: Register, offset: i16, number: i32) {
        self.push(0x62 | size as u8, base, 0, offset, number);
    }

    /// `*(base) += from` for 64 bits, atomically.
    pub(super) fn atomic_add(&mut self, base: Register, from: Register) {
        self.push(0xdb, base, from as u8, 0, 0);
    }

    /// `*(base) += from` for 64 bits, atomically; `from` becomes what stood there (Linux 5.12).
    pub(super) fn fetch_add(&mut self, base: Register, from: Register) {
        const BPF_FETCH: i32 = 1;
        self.push(0xdb, base, from as u8, 0, BPF_FETCH);
    }

    /// `to = the map of this descriptor`
    pub(super) fn map(&mut self, to: Register, descriptor: i32) {
        const BPF_PSEUDO_MAP_FD: u8 = 1;
        self.push(0x18, to, BPF_PSEUDO_MAP_FD, 0, descriptor);
        self.push(0, Register::R0, 0, 0, 0);
    }

    /// `to = the address of byte `offset` of the first value of the array of this descriptor`
    pub(super) fn map_value(&mut self, to: Register, descriptor: i32, offset: i32) {
        const BPF_PSEUDO_MAP_VALUE: u8 = 2;
        self.push(0x18, to, BPF_PSEUDO_MAP_VALUE, 0, descriptor);
        self.push(0, Register::R0, 0, 0, offset);
    }

    /// Calls a helper.
    pub(super) fn call(&mut self, helper: Helper) {
        self.push(0x85, Register::R0, 0, 0, i32::from(helper as u8));
    }

    /// Copies `length` bytes at the kernel's address `base + offset` to the stack at `stack` (negative: below R10). R0 is 0, or else
    /// the bytes are zeros.
    pub(super) fn probe(&mut self, stack: i16, length: i32, base: Register, offset: i32) {
        if base != Register::R3 {
            self.copy(Register::R3, base);
        }
        if offset != 0 {
            self.add_number(Register::R3, offset);
        }
        self.copy(Register::R1, Register::R10);
        self.add_number(Register::R1, i32::from(stack));
        self.set(Register::R2, length);
        self.call(Helper::ProbeReadKernel);
    }

    /// Goes on at the label.
    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(0x05, Register::R0, 0, 0, 0);
    }

    /// Goes on at the label if the register stands to the number like that.
    pub(super) fn jump_if(&mut self, register: Register, condition: If, number: i32, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(condition as u8, register, 0, 0, number);
    }

    /// Goes on at the label if the register stands to the other one like that.
    pub(super) fn jump_if_register(&mut self, register: Register, condition: If, other: Register, to: Label) {
        const BPF_X: u8 = 0x08;
        self.jumps.push((self.instructions.len(), to));
        self.push(condition as u8 | BPF_X, register, other as u8, 0, 0);
    }

    /// Ends the program with R0 = 0.
    pub(super) fn exit(&mut self) {
        self.set(Register::R0, 0);
        self.push(0x95, Register::R0, 0, 0, 0);
    }

    /// The program; `None` where a label that is jumped to has no place, or is too far away.
    pub(super) fn finish(mut self) -> Option<Vec<Instruction>> {
        for (at, label) in self.jumps {
            let place = i64::try_from((*self.labels.get(label.0)?)?).ok()?;
            // Counted from the next instruction.
            let distance = place - i64::try_from(at).ok()? - 1;
            self.instructions.get_mut(at)?.offset = i16::try_from(distance).ok()?;
        }
        Some(self.instructions)
    }

    fn push(&mut self, code: u8, destination: Register, source: u8, offset: i16, immediate: i32) {
        let destination = destination as u8;
        let registers = if cfg!(target_endian = "big") { destination << 4 | source } else { source << 4 | destination };
        self.instructions.push(Instruction { code, registers, offset, immediate });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_counted_from_the_next_instruction() {
        let mut program = Assembler::default();
        let (again, out) = (program.label(), program.label());
        program.place(again);
        program.jump_if(Register::R1, If::Equal, 7, out);
        program.jump(again);
        program.place(out);
        program.exit();
        let offsets: Vec<_> = program.finish().unwrap().iter().map(|instruction| instruction.offset).collect();
        assert_eq!(offsets, [1, -2, 0, 0]);
    }

    #[test]
    fn a_label_without_a_place_makes_no_program() {
        let mut program = Assembler::default();
        let nowhere = program.label();
        program.jump(nowhere);
        assert_eq!(program.finish(), None);
    }
}
