//! Instructions executed here (or by a CPU that has them) against what the manual says they do.
//!
//! In inline assembly, which a compiler translates for any CPU.

use std::{arch::asm, os::unix::process::ExitStatusExt};

use crate::decode::{Base, Instruction, Memory, Operand, Prefix, decode};

fn bytes<const N: usize>(seed: usize) -> [u8; N] {
    std::array::from_fn(|at| (((at * at + 7 * at + seed * 89) * 2_654_435_761) >> 7) as u8)
}

fn expected_products(sums: [u8; 32], unsigned: [u8; 32], signed: [u8; 32]) -> [u8; 32] {
    let mut sums = sums;
    for (lane, sum) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let at = lane * 4..lane * 4 + 4;
        let products = unsigned[at.clone()].iter().zip(&signed[at]).map(|(u, s)| i32::from(*u) * i32::from(*s as i8));
        *sum = products.fold(i32::from_le_bytes(*sum), i32::wrapping_add).to_le_bytes();
    }
    sums
}

static CONSTANT: [u8; 32] = *b"0123456789abcdef\x80\x81\xfe\xff5678vwxyz{|}";

#[test]
fn products_of_registers_and_of_memory() {
    if !std::is_x86_feature_detected!("avx2") {
        println!("skipped: vector registers of 256 bits: this CPU has none");
        return;
    }
    for seed in 0..50 {
        let (sums, u, s): ([u8; 32], [u8; 32], [u8; 32]) = (bytes(seed), bytes(seed + 1), bytes(seed + 2));
        let table: [[u8; 32]; 4] = std::array::from_fn(|row| if row == 2 { s } else { bytes(seed + 9) });
        let expected = expected_products(sums, u, s);
        let mut got = [[0u8; 32]; 6];
        // SAFETY: loads and stores of 32 bytes from and to arrays as large.
        unsafe {
            asm!(
                "vmovdqu ymm3, [{u}]",
                "vmovdqu ymm12, [{s}]",
                "vmovdqu ymm4, [{sums}]",
                "vmovdqa ymm5, ymm4",
                "vmovdqa ymm13, ymm4",
                "vmovdqa ymm6, ymm4",
                "vmovdqa ymm7, ymm4",
                "vmovdqa ymm8, ymm4",
                // In registers, from memory, with an index, with a distance of four bytes, 128 bits of it, and from the
                // program itself.
                "{{vex}} vpdpbusd ymm4, ymm3, ymm12",
                "{{vex}} vpdpbusd ymm5, ymm3, [{s}]",
                "{{vex}} vpdpbusd ymm13, ymm3, [{table} + {index}*8 + 32]",
                "{{vex}} vpdpbusd ymm6, ymm3, [{far} - 1000]",
                "{{vex}} vpdpbusd xmm7, xmm3, xmm12",
                "{{vex}} vpdpbusd ymm8, ymm3, [rip + {constant}]",
                "vmovdqu [{got}], ymm4",
                "vmovdqu [{got} + 32], ymm5",
                "vmovdqu [{got} + 64], ymm13",
                "vmovdqu [{got} + 96], ymm6",
                "vmovdqu [{got} + 128], ymm7",
                "vmovdqu [{got} + 160], ymm8",
                constant = sym CONSTANT,
                u = in(reg) &u,
                s = in(reg) &s,
                sums = in(reg) &sums,
                table = in(reg) &table,
                index = in(reg) 4usize,
                far = in(reg) s.as_ptr().wrapping_add(1000),
                got = in(reg) &mut got,
                out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm12") _,
                out("ymm13") _,
            );
        }
        for got in &got[..4] {
            assert_eq!(*got, expected, "seed {seed}");
        }
        assert_eq!(got[5], expected_products(sums, u, CONSTANT), "seed {seed}");
        // The upper half is gone.
        assert_eq!((&got[4][..16], &got[4][16..]), (&expected[..16], &[0; 16][..]), "seed {seed}");
    }
}

#[test]
fn sums_that_leave_32_bits() {
    if !std::is_x86_feature_detected!("avx2") {
        println!("skipped: vector registers of 256 bits: this CPU has none");
        return;
    }
    let sums = [i32::MAX; 8];
    let (u, s) = ([255u8; 32], [127u8; 32]);
    let words = [i16::MIN; 16];
    let mut got = [[0i32; 8]; 4];
    // SAFETY: as above.
    unsafe {
        asm!(
            "vmovdqu ymm0, [{sums}]",
            "vmovdqa ymm1, ymm0",
            "vpxor ymm2, ymm2, ymm2",
            "vpxor ymm3, ymm3, ymm3",
            "vmovdqu ymm4, [{u}]",
            "vmovdqu ymm5, [{words}]",
            "{{vex}} vpdpbusd ymm0, ymm4, [{s}]",
            "{{vex}} vpdpbusds ymm1, ymm4, [{s}]",
            "{{vex}} vpdpwssd ymm2, ymm5, ymm5",
            "{{vex}} vpdpwssds ymm3, ymm5, ymm5",
            "vmovdqu [{got}], ymm0",
            "vmovdqu [{got} + 32], ymm1",
            "vmovdqu [{got} + 64], ymm2",
            "vmovdqu [{got} + 96], ymm3",
            sums = in(reg) &sums,
            u = in(reg) &u,
            s = in(reg) &s,
            words = in(reg) &words,
            got = in(reg) &mut got,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
        );
    }
    assert_eq!(got, [[i32::MAX.wrapping_add(4 * 255 * 127); 8], [i32::MAX; 8], [i32::MIN; 8], [i32::MAX; 8]]);
}

/// Rows and bytes a row of the tiles 0 to 2.
fn configuration(shapes: [(u8, u16); 3]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for (tile, (rows, row_bytes)) in shapes.into_iter().enumerate() {
        bytes[16 + 2 * tile..][..2].copy_from_slice(&row_bytes.to_le_bytes());
        bytes[48 + tile] = rows;
    }
    bytes
}

/// Where the CPU has tiles itself, the operating system wants to be asked before.
fn ask_for_tiles() {
    // SAFETY: a system call that writes no memory; where there are no tiles it fails, and they are emulated.
    unsafe { libc::syscall(libc::SYS_arch_prctl, 0x1023, 18) };
}

#[test]
fn products_of_tiles() {
    ask_for_tiles();
    // Rows of the result, bytes a row of it, rows of the weights.
    for (seed, (rows, row_bytes, steps)) in [(16, 64, 8), (16, 64, 16), (3, 20, 5), (1, 4, 1)].into_iter().enumerate() {
        let a: [u8; 2048] = bytes(seed);
        let b: [u8; 2048] = bytes(seed + 5);
        let begin: [u8; 2048] = bytes(seed + 9);
        let mut got = [[0x55u8; 2048]; 5];
        let config = configuration([(rows, row_bytes), (rows, 4 * steps), (steps as u8, row_bytes)]);
        let stride = 100usize;
        // SAFETY: sixteen rows 100 bytes apart, of 64 bytes at most, are within 2048 bytes.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "tileloadd tmm1, [{a} + {stride}*1]",
                "tileloadd tmm2, [{b} + {stride}*1]",
                "tileloadd tmm0, [{begin} + {stride}*1]",
                "tdpbssd tmm0, tmm1, tmm2",
                "tilestored [{got} + {stride}*1], tmm0",
                "tilezero tmm0",
                "tdpbsud tmm0, tmm1, tmm2",
                "tilestored [{got} + {stride}*1 + 2048], tmm0",
                "tilezero tmm0",
                "tdpbusd tmm0, tmm1, tmm2",
                "tilestored [{got} + {stride}*1 + 2*2048], tmm0",
                "tilezero tmm0",
                "tdpbuud tmm0, tmm1, tmm2",
                "tilestored [{got} + {stride}*1 + 3*2048], tmm0",
                // Without an index each row is the same.
                "tileloadd tmm1, [{a}]",
                "tilestored [{got} + {stride}*1 + 4*2048], tmm1",
                "tilerelease",
                config = in(reg) &config,
                a = in(reg) &a,
                b = in(reg) &b,
                begin = in(reg) &begin,
                stride = in(reg) stride,
                got = in(reg) &mut got,
                out("tmm0") _, out("tmm1") _, out("tmm2") _,
            );
        }
        for (which, (a_signed, b_signed)) in
            [(true, true), (true, false), (false, true), (false, false)].into_iter().enumerate()
        {
            let mut expected = [0x55u8; 2048];
            for row in 0..usize::from(rows) {
                for column in 0..usize::from(row_bytes) / 4 {
                    let at = row * stride + column * 4;
                    let mut sum =
                        if which == 0 { i32::from_le_bytes(begin[at..at + 4].try_into().unwrap()) } else { 0 };
                    for k in 0..4 * usize::from(steps) {
                        let (a, b) = (a[row * stride + k], b[k / 4 * stride + column * 4 + k % 4]);
                        let a = if a_signed { i32::from(a as i8) } else { i32::from(a) };
                        let b = if b_signed { i32::from(b as i8) } else { i32::from(b) };
                        sum = sum.wrapping_add(a * b);
                    }
                    expected[at..at + 4].copy_from_slice(&sum.to_le_bytes());
                }
            }
            assert!(
                got[which] == expected,
                "{rows} rows of {row_bytes} bytes, {steps} steps, signs {a_signed} {b_signed}"
            );
        }
        for row in 0..usize::from(rows) {
            let bytes = 4 * usize::from(steps);
            assert_eq!(got[4][row * stride..][..bytes], a[..bytes], "row {row}");
        }
    }
}

#[test]
fn a_threads_tiles_are_its_own() {
    ask_for_tiles();
    let load = |seed| {
        let data: [u8; 1024] = bytes(seed);
        let mut got = [0u8; 1024];
        let config = configuration([(16, 64), (0, 0), (0, 0)]);
        for _ in 0..100 {
            // SAFETY: sixteen rows of 64 bytes.
            unsafe {
                asm!(
                    "ldtilecfg [{config}]",
                    "tileloadd tmm0, [{data} + {line}*1]",
                    "pause",
                    "tilestored [{got} + {line}*1], tmm0",
                    "tilerelease",
                    config = in(reg) &config,
                    data = in(reg) &data,
                    got = in(reg) &mut got,
                    line = in(reg) 64usize,
                    out("tmm0") _,
                );
            }
            assert!(got == data);
        }
    };
    std::thread::scope(|threads| {
        for seed in 0..4 {
            threads.spawn(move || load(seed));
        }
    });
}

/// A product of tiles whose shapes disagree, as an instruction in a process of its own.
#[test]
fn what_a_processor_refuses() {
    const CHILD: &str = "PIPSQUEAK_EMULATE_REFUSED";
    ask_for_tiles();
    let Ok(which) = std::env::var(CHILD) else {
        for which in ["shapes", "none", "palette"] {
            let program = std::env::current_exe().unwrap();
            let child = std::process::Command::new(program)
                .args(["--exact", "tests::what_a_processor_refuses", "--nocapture"])
                .env(CHILD, which)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stderr).into_owned();
            assert!(!child.status.success(), "{which}: goes on");
            // A processor that has tiles ends the program itself.
            let by_processor = child.status.signal() == Some(libc::SIGSEGV);
            assert!(by_processor || said.contains("pipsqueak-emulate: "), "{which}: {said}");
        }
        return;
    };
    let mut config = configuration([(16, 64), (16, 32), (8, 64)]);
    match which.as_str() {
        "none" => config[16..].fill(0),
        "palette" => config[0] = 7,
        // Activations for seven steps, and eight of weights.
        _ => config[18] = 28,
    }
    // SAFETY: a configuration of 64 bytes, and no other memory.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tdpbssd tmm0, tmm1, tmm2",
            "tilerelease",
            config = in(reg) &config,
            out("tmm0") _,
        );
    }
}

#[test]
fn what_instructions_say() {
    let memory = |base, index, scale, displacement| Operand::Memory(Memory { base, index, scale, displacement });
    let vnni = |reg, second, third, long, length| {
        let (opcode, prefix, wide) = (0x50, Prefix::P66, false);
        Instruction { opcode, prefix, long, wide, reg, second, third, length }
    };
    // As an assembler writes them.
    let cases: [(&[u8], Instruction); 8] = [
        // {vex} vpdpbusd ymm4, ymm3, ymm12
        (&[0xc4, 0xc2, 0x65, 0x50, 0xe4], vnni(4, 3, Operand::Register(12), true, 5)),
        // {vex} vpdpbusd xmm15, xmm0, xmm1
        (&[0xc4, 0x62, 0x79, 0x50, 0xf9], vnni(15, 0, Operand::Register(1), false, 5)),
        // {vex} vpdpbusd ymm1, ymm2, [r13]
        (&[0xc4, 0xc2, 0x6d, 0x50, 0x4d, 0x00], vnni(1, 2, memory(Base::Register(13), None, 0, 0), true, 6)),
        // {vex} vpdpbusd ymm1, ymm2, [rsp - 8]
        (&[0xc4, 0xe2, 0x6d, 0x50, 0x4c, 0x24, 0xf8], vnni(1, 2, memory(Base::Register(4), None, 0, -8), true, 7)),
        // {vex} vpdpbusd ymm1, ymm2, [r12 + r13*4 + 0x1000]
        (
            &[0xc4, 0x82, 0x6d, 0x50, 0x8c, 0xac, 0, 0x10, 0, 0],
            vnni(1, 2, memory(Base::Register(12), Some(13), 2, 0x1000), true, 10),
        ),
        // {vex} vpdpbusd ymm1, ymm2, [rip + 16]
        (&[0xc4, 0xe2, 0x6d, 0x50, 0x0d, 16, 0, 0, 0], vnni(1, 2, memory(Base::Next, None, 0, 16), true, 9)),
        // {vex} vpdpbusd ymm1, ymm2, [rcx*8 + 16]
        (&[0xc4, 0xe2, 0x6d, 0x50, 0x0c, 0xcd, 16, 0, 0, 0], vnni(1, 2, memory(Base::None, Some(1), 3, 16), true, 10)),
        // tdpbssd tmm0, tmm1, tmm2
        (
            &[0xc4, 0xe2, 0x6b, 0x5e, 0xc1],
            Instruction { opcode: 0x5e, prefix: Prefix::F2, ..vnni(0, 2, Operand::Register(1), false, 5) },
        ),
    ];
    for (code, expected) in cases {
        assert_eq!(decode(code.iter().copied()), Some(expected), "{code:02x?}");
        assert_eq!(decode(code[..code.len() - 1].iter().copied()), None, "cut short: {code:02x?}");
        let mut more = code.iter().copied().chain([0x90, 0x90]);
        decode(&mut more);
        assert_eq!(more.count(), 2, "read too far: {code:02x?}");
    }
    // vpaddd ymm0, ymm1, ymm2, of a shorter encoding; vpmulld ymm0, ymm1, ymm2 is of this map; vpblendd of another.
    assert_eq!(decode([0xc5, 0xf5, 0xfe, 0xc2].into_iter()), None);
    assert!(decode([0xc4, 0xe2, 0x75, 0x40, 0xc2].into_iter()).is_some());
    assert_eq!(decode([0xc4, 0xe3, 0x75, 0x02, 0xc2, 0x01].into_iter()), None);
}
