//! The registers of the code that a signal has interrupted, which goes on with what is written to them.
//!
//! Sources: Linux, arch/x86/include/uapi/asm/sigcontext.h; Intel 64 and IA-32 Architectures Software Developer's Manual,
//! volume 1, chapter 13 (the standard format of XSAVE).

use std::{
    arch::x86_64::__cpuid_count,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{
    decode::{Base, Instruction, Memory},
    die,
};

pub(crate) struct Context<'a> {
    raw: &'a mut libc::ucontext_t,
}

/// Where the saved state says that more than SSE's is there, and with which number.
const MAGIC: (usize, u32) = (464, 0x4650_5853);
const XMM: usize = 160;
/// Bits for the parts that are saved and not in their initial state.
const PARTS: usize = 512;
const SSE: u32 = 1;
/// Upper halves of the 256-bit registers.
const AVX: u32 = 2;
/// Upper halves of the first sixteen 512-bit registers.
const ZMM_HIGH: u32 = 6;

/// Where the upper halves are saved; asked once, for in a virtual machine the question takes long.
static AVX_AT: AtomicUsize = AtomicUsize::new(0);
static ZMM_HIGH_AT: AtomicUsize = AtomicUsize::new(0);

/// Before the first signal.
pub(crate) fn prepare() {
    for (part, at) in [(AVX, &AVX_AT), (ZMM_HIGH, &ZMM_HIGH_AT)] {
        // Newer compilers declare it safe.
        #[allow(unused_unsafe)]
        // SAFETY: every 64-bit x86 has CPUID.
        let offset = unsafe { __cpuid_count(0xd, part) }.ebx as usize;
        at.store(offset, Relaxed);
    }
}

impl<'a> Context<'a> {
    /// # Safety
    /// * `raw` is what the kernel has handed to a signal handler that still runs.
    pub(crate) unsafe fn new(raw: *mut libc::c_void) -> Self {
        // SAFETY: the caller promises the context.
        Self { raw: unsafe { &mut *raw.cast() } }
    }

    pub(crate) fn instruction_pointer(&self) -> *const u8 {
        self.raw.uc_mcontext.gregs[libc::REG_RIP as usize] as *const u8
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.raw.uc_mcontext.gregs[libc::REG_RIP as usize] += bytes as i64;
    }

    /// A register by the number that instructions give it.
    pub(crate) fn general(&self, register: usize) -> i64 {
        use libc::*;
        let of = [
            REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11,
            REG_R12, REG_R13, REG_R14, REG_R15,
        ];
        self.raw.uc_mcontext.gregs[of[register] as usize]
    }

    /// Where `memory` of the instruction that is to be executed begins, without its index.
    pub(crate) fn base(&self, instruction: &Instruction, memory: &Memory) -> i64 {
        let base = match memory.base {
            Base::None => 0,
            Base::Register(register) => self.general(register),
            Base::Next => self.instruction_pointer() as i64 + instruction.length as i64,
        };
        base.wrapping_add(i64::from(memory.displacement))
    }

    /// What `memory`'s index adds, or a tile's bytes from one row to the next.
    pub(crate) fn index(&self, memory: &Memory) -> i64 {
        memory.index.map_or(0, |register| self.general(register) << memory.scale)
    }

    /// The first 256 bits of a vector register.
    pub(crate) fn vector(&self, register: usize) -> [u8; 32] {
        let mut value = [0; 32];
        for (half, (part, at)) in value.chunks_exact_mut(16).zip([(SSE, XMM), (AVX, AVX_AT.load(Relaxed))]) {
            if self.has(part) {
                // SAFETY: `saved` is the saved state, which has this part.
                unsafe { self.saved().add(at + register * 16).copy_to_nonoverlapping(half.as_mut_ptr(), 16) };
            }
        }
        value
    }

    /// Writes a vector register, whose other bits become 0, as VEX-encoded instructions leave them.
    pub(crate) fn set_vector(&mut self, register: usize, value: [u8; 32]) {
        for (half, (part, at)) in value.chunks_exact(16).zip([(SSE, XMM), (AVX, AVX_AT.load(Relaxed))]) {
            let first = self.saved().wrapping_add(at);
            // SAFETY: the state is saved in the standard format, in which each part has its place, initial or not.
            unsafe {
                if !self.has(part) {
                    first.write_bytes(0, 16 * 16);
                    self.saved().add(PARTS).cast::<u64>().write_unaligned(self.parts() | 1 << part);
                }
                first.add(register * 16).copy_from_nonoverlapping(half.as_ptr(), 16);
            }
        }
        if self.has(ZMM_HIGH) {
            // SAFETY: as above; 32 bytes a register.
            unsafe { self.saved().add(ZMM_HIGH_AT.load(Relaxed) + register * 32).write_bytes(0, 32) };
        }
    }

    fn has(&self, part: u32) -> bool {
        self.parts() >> part & 1 == 1
    }

    fn parts(&self) -> u64 {
        // SAFETY: `saved` is followed by the header of what is saved beside SSE's state.
        unsafe { self.saved().add(PARTS).cast::<u64>().read_unaligned() }
    }

    fn saved(&self) -> *mut u8 {
        let saved: *mut u8 = self.raw.uc_mcontext.fpregs.cast();
        let (at, magic) = MAGIC;
        // SAFETY: SSE's state is always there, 512 bytes.
        if saved.is_null() || unsafe { saved.add(at).cast::<u32>().read_unaligned() } != magic {
            die("the signal came without the vector registers");
        }
        saved
    }
}
