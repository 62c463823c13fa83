/* From reset to main. */
#include <stdint.h>
#include <string.h>

#include "semihosting.h"

extern uint32_t stack_start[], data_start[], data_end[], data_load[], bss_start[], bss_end[];

int main(void);
_Noreturn void reset(void);

_Noreturn static void fault(void)
{
    write_text(ERR, "fault\n");
    leave(101);
}

/* The first words of flash: the stack, then the handlers of Armv7-M's own exceptions. */
typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler handlers[15];
} vectors = {
    stack_start,
    {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault},
};

_Noreturn void reset(void)
{
    /* CPACR: the floating-point unit, before anything uses it. */
    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    memcpy(data_start, data_load, (uintptr_t)data_end - (uintptr_t)data_start);
    memset(bss_start, 0, (uintptr_t)bss_end - (uintptr_t)bss_start);
    leave(main());
}
