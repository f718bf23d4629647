/* Answers items of many nets on an emulated Cortex-M: reads the file `items` by semihosting and writes `answers`. */
#include <stdint.h>
#include <string.h>

#include "nets.h" /* COUNT and NETS(X), X(number, bytes of input, bytes of output, function that begins a stream) */

int semihosting(int operation, const void *argument);
int model_selftest(void);

void nothing(void);
void nothing(void) {}
#define DECLARE(n, in, out, reset) \
    void reset(void); \
    void *net_##n##_input(void); \
    void net_##n##_run(void); \
    const void *net_##n##_output(void);
NETS(DECLARE)

static const struct {
    void *(*input)(void);
    void (*run)(void);
    const void *(*output)(void);
    void (*reset)(void);
    uint32_t input_bytes, output_bytes;
} nets[] = {
#define ROW(n, in, out, reset) {net_##n##_input, net_##n##_run, net_##n##_output, reset, in, out},
    NETS(ROW)
};

static uint32_t call(uint32_t operation, uint32_t first, const void *second, uint32_t third)
{
    const uint32_t arguments[3] = {first, (uint32_t)(uintptr_t)second, third};
    return (uint32_t)semihosting((int)operation, arguments);
}

static uint32_t open_file(const char *name, uint32_t mode)
{
    const uint32_t arguments[3] = {(uint32_t)(uintptr_t)name, mode, (uint32_t)strlen(name)};
    return (uint32_t)semihosting(1, arguments); /* SYS_OPEN */
}

/* The number of reads and writes that failed. */
int model_selftest(void)
{
    const uint32_t items = open_file("items", 1), answers = open_file("answers", 5); /* rb, wb */
    uint32_t failed = 0;
    for (unsigned n = 0; n < sizeof nets / sizeof *nets; n++) {
        nets[n].reset();
        for (int i = 0; i < COUNT; i++) {
            failed += call(6, items, nets[n].input(), nets[n].input_bytes) != 0;       /* SYS_READ */
            nets[n].run();
            failed += call(5, answers, nets[n].output(), nets[n].output_bytes) != 0; /* SYS_WRITE */
        }
    }
    const uint32_t handle = answers;
    failed += semihosting(2, &handle) != 0; /* SYS_CLOSE */
    return (int)failed;
}
