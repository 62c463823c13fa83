//! Copying and filling memory, small: the compiler's library has 1.8 KB of it for Cortex-M, unrolled. Words where both ends
//! allow, else bytes. In assembly, because a compiler makes a call of `memcpy` of such a loop.

use core::arch::global_asm;

// Instructions of every Cortex-M. `__aeabi_memset` has its length before its value; what ends in 4 or 8 may count on
// alignment, and does not. Only `memcpy`, `memmove` and `memset` promise to return the destination, but all do.
global_asm!(
    r#"
    .syntax unified
    .thumb

    .macro pipsqueak_mem names:vararg
    .irp name, \names
    .global \name
    .type \name, %function
    .thumb_func
\name:
    .endr
    .endm

    @ r0 to, r1 from, r2 bytes; r3 place.
    .section .text.pipsqueak_copy, "ax", %progbits
    .p2align 1
    pipsqueak_mem memmove, __aeabi_memmove, __aeabi_memmove4, __aeabi_memmove8
    subs r3, r0, r1
    cmp r3, r2
    blo 5f
    pipsqueak_mem memcpy, __aeabi_memcpy, __aeabi_memcpy4, __aeabi_memcpy8
    push {{r0, r4, lr}}
    mov r3, r0
    orrs r3, r1
    lsls r4, r3, #30
    mov r3, r0
    bne 2f
1:  subs r2, #4
    blo 3f
    ldmia r1!, {{r4}}
    stmia r3!, {{r4}}
    b 1b
3:  adds r2, #4
2:  subs r2, #1
    blo 4f
    ldrb r4, [r1]
    adds r1, #1
    strb r4, [r3]
    adds r3, #1
    b 2b
4:  pop {{r0, r4, pc}}
    @ The destination begins inside the source: from the end.
5:  subs r2, #1
    blo 6f
    ldrb r3, [r1, r2]
    strb r3, [r0, r2]
    b 5b
6:  bx lr

    @ r0 to, r1 bytes, r2 value; r3 place.
    .section .text.pipsqueak_fill, "ax", %progbits
    .p2align 1
    pipsqueak_mem memset
    mov r3, r1
    mov r1, r2
    mov r2, r3
    b 1f
    pipsqueak_mem __aeabi_memclr, __aeabi_memclr4, __aeabi_memclr8
    movs r2, #0
    pipsqueak_mem __aeabi_memset, __aeabi_memset4, __aeabi_memset8
1:  uxtb r2, r2
    lsls r3, r2, #8
    orrs r2, r3
    lsls r3, r2, #16
    orrs r2, r3
    lsls r3, r0, #30
    mov r3, r0
    bne 3f
2:  subs r1, #4
    blo 4f
    stmia r3!, {{r2}}
    b 2b
4:  adds r1, #4
3:  subs r1, #1
    blo 5f
    strb r2, [r3]
    adds r3, #1
    b 3b
5:  bx lr

    .purgem pipsqueak_mem
    .text
"#
);
