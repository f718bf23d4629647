/* Runs a model's self-test on an emulated Cortex-M, and prints by semihosting, without the C library, what it found. */
#include <stdint.h>

#include "model.h"

extern uint32_t stack_top, stack_limit, bss_start, bss_end, data_start, data_end, data_stored;
int model_selftest(void);
int semihosting(int operation, const void *argument);
void reset(void);

#define FILL 0xA5A5A5A5u

int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void print(const char *name, uint32_t value)
{
    char text[12], *p = text + 11;
    *p = 0;
    do *--p = (char)('0' + value % 10); while (value /= 10);
    semihosting(4, name); /* SYS_WRITE0 */
    semihosting(4, p);
}

void reset(void)
{
    uint32_t wrong = 0, *p;
#if defined(__ARM_FEATURE_MVE) || defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000u; /* CPACR: vector and floating-point registers may be used */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    for (uint32_t *from = &data_stored, *to = &data_start; to != &data_end;) *to++ = *from++;
    for (p = &bss_start; p != &bss_end; p++) *p = 0;
    for (p = &stack_limit; p < (uint32_t *)__builtin_frame_address(0) - 16; p++) *p = FILL;
    for (int i = 0; i < REPEAT; i++) wrong += (uint32_t)model_selftest();
    for (p = &stack_limit; *p == FILL; p++) {}
    print("wrong ", wrong);
    print(" stack ", (uint32_t)((char *)__builtin_frame_address(0) - (char *)p));
    print(" arena ", MODEL_ARENA_BYTES);
    semihosting(4, "\n");
    semihosting(0x18, (const void *)0x20026); /* SYS_EXIT, ADP_Stopped_ApplicationExit */
    for (;;) {}
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {&stack_top, (const void *)reset};
