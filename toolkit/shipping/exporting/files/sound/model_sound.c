/* Made by edgepress: the front end of TensorFlow Lite for Microcontrollers (microfrontend), written anew: a window, a
   transform of 16 bits with scaling, channels of a mel scale, their roots, noise reduction, gain control, logarithms. */
#include "model_sound.h"
#include <string.h>

enum {
    WINDOW = MODEL_SOUND_WINDOW,
    STEP = MODEL_SOUND_STEP,
    CHANNELS = MODEL_SOUND_CHANNELS,
    SIZE = @FFT_SIZE@,
    HALF = SIZE / 2,
    SMOOTHING_BITS = @SMOOTHING_BITS@,
    CORRECTION_BITS = @CORRECTION_BITS@
};
typedef model_sound_complex complex16;

static const int16_t window_of[WINDOW] = {
@WINDOW_TABLE@
};
/* The numbers of the transform's inputs in the order in which every step combines neighbours. */
static const uint16_t order[HALF] = {
@ORDER@
};
static const int16_t twiddles[2 * (HALF - HALF / 4)] = {
@TWIDDLES@
};
static const int16_t super_twiddles[HALF] = {
@SUPER_TWIDDLES@
};
static const int16_t first_bin[CHANNELS + 2] = {
@FIRST_BIN@
};
static const int16_t weights[] = {
@WEIGHTS@
};
static const int16_t unweights[] = {
@UNWEIGHTS@
};
@GAIN_TABLE@@LOG_TABLE@/* The least number of a frame that each stored value but the first stands for. */
static const uint16_t least[] = {
@LEAST@
};

/* Shares of the transform's steps: a half and a quarter in 15 bits. */
#define HALVED(x) (((x) * (32767 / 2) + (1 << 14)) >> 15)
#define QUARTERED(x) (((x) * (32767 / 4) + (1 << 14)) >> 15)
/* The product of complex numbers of which the second is a root of unity, in 15 bits. */
#define TIMES_REAL(x, y, root) (((x) * (root)[0] - (y) * (root)[1] + (1 << 14)) >> 15)
#define TIMES_IMAGINARY(x, y, root) (((x) * (root)[1] + (y) * (root)[0] + (1 << 14)) >> 15)

static int bits_of(uint32_t n)
{
#if defined(__GNUC__)
    return n ? 32 - __builtin_clz(n) : 0;
#else
    int bits = 0;
    for (; n; n >>= 1) bits++;
    return bits;
#endif
}

/* The transform of HALF complex numbers in the order of `order`, in place. Sums wrap as 16 bits do. */
static void transform(complex16 *f)
{
    int length = 1;
    if (bits_of(HALF) % 2 == 0) { /* no power of four: a step of two first, whose root is that of 0 */
        for (complex16 *g = f; g < f + HALF; g += 2) {
            const int32_t a = HALVED(g[0].real), b = HALVED(g[0].imaginary);
            const int32_t x = HALVED(g[1].real), y = HALVED(g[1].imaginary);
            const int32_t c = TIMES_REAL(x, y, twiddles), d = TIMES_IMAGINARY(x, y, twiddles);
            g[0].real = (int16_t)(a + c);
            g[0].imaginary = (int16_t)(b + d);
            g[1].real = (int16_t)(a - c);
            g[1].imaginary = (int16_t)(b - d);
        }
        length = 2;
    }
    for (; length < HALF; length *= 4) {
        const int turn = 2 * (HALF / (4 * length));
        for (int k = 0; k < length; k++) {
            const int16_t *const one = twiddles + k * turn, *const two = one + k * turn, *const three = two + k * turn;
            for (complex16 *g = f + k; g < f + HALF; g += 4 * length) {
                const int32_t ar = QUARTERED(g[0].real), ai = QUARTERED(g[0].imaginary);
                const int32_t bx = QUARTERED(g[length].real), by = QUARTERED(g[length].imaginary);
                const int32_t cx = QUARTERED(g[2 * length].real), cy = QUARTERED(g[2 * length].imaginary);
                const int32_t dx = QUARTERED(g[3 * length].real), dy = QUARTERED(g[3 * length].imaginary);
                const int32_t br = TIMES_REAL(bx, by, one), bi = TIMES_IMAGINARY(bx, by, one);
                const int32_t cr = TIMES_REAL(cx, cy, two), ci = TIMES_IMAGINARY(cx, cy, two);
                const int32_t dr = TIMES_REAL(dx, dy, three), di = TIMES_IMAGINARY(dx, dy, three);
                g[0].real = (int16_t)(ar + cr + br + dr);
                g[0].imaginary = (int16_t)(ai + ci + bi + di);
                g[length].real = (int16_t)(ar - cr + bi - di);
                g[length].imaginary = (int16_t)(ai - ci - br + dr);
                g[2 * length].real = (int16_t)(ar + cr - br - dr);
                g[2 * length].imaginary = (int16_t)(ai + ci - bi - di);
                g[3 * length].real = (int16_t)(ar - cr - bi + di);
                g[3 * length].imaginary = (int16_t)(ai - ci + br - dr);
            }
        }
    }
}

/* Half of the spectrum of SIZE real numbers, from their transform in pairs; bin 0 is not made. */
static void real_spectrum(const complex16 *pairs, complex16 *spectrum)
{
    const int16_t *root = super_twiddles;
    for (int k = 1; k <= HALF / 2; k++, root += 2) {
        const int32_t ur = HALVED(pairs[k].real), ui = HALVED(pairs[k].imaginary);
        const int32_t dr = HALVED(pairs[HALF - k].real), di = HALVED((int16_t)-pairs[HALF - k].imaginary);
        const int16_t er = (int16_t)(ur + dr), ei = (int16_t)(ui + di), x = (int16_t)(ur - dr), y = (int16_t)(ui - di);
        const int16_t or = (int16_t)TIMES_REAL(x, y, root), oi = (int16_t)TIMES_IMAGINARY(x, y, root);
        spectrum[k].real = (int16_t)((er + or) >> 1);
        spectrum[k].imaginary = (int16_t)((ei + oi) >> 1);
        spectrum[HALF - k].real = (int16_t)((er - or) >> 1);
        spectrum[HALF - k].imaginary = (int16_t)((oi - ei) >> 1);
    }
}

/* The nearest whole root, as TFLM rounds it: of a number of 32 bits, it has 16. */
static uint32_t root_of_word(uint32_t n)
{
    uint32_t rest = n, root = 0;
    for (uint32_t bit = n ? (uint32_t)1 << ((bits_of(n) - 1) & ~1) : 0; bit; bit >>= 2) {
        const uint32_t next = root + bit;
        root >>= 1;
        if (rest >= next) {
            rest -= next;
            root += bit;
        }
    }
    return root + (rest > root && root != 0xffffu);
}

static uint32_t root_of(uint64_t n)
{
    if (!(n >> 32)) return root_of_word((uint32_t)n);
    uint64_t rest = n, root = 0;
    for (uint64_t bit = (uint64_t)1 << (32 + ((bits_of((uint32_t)(n >> 32)) - 1) & ~1)); bit; bit >>= 2) {
        const uint64_t next = root + bit;
        root >>= 1;
        if (rest >= next) {
            rest -= next;
            root += bit;
        }
    }
    return (uint32_t)root + (rest > root && root != 0xffffffffu);
}
@FUNCTIONS@
void model_sound_reset(model_sound *sound)
{
    memset(sound, 0, sizeof *sound);
@BEGIN@}

static void frame_of(model_sound *sound, uint16_t *frame)
{
    complex16 *const spectrum = sound->work;
    complex16 *const pairs = spectrum + HALF + 1;
    int16_t *const signal = (int16_t *)(void *)spectrum; /* until the spectrum is made */
    int16_t largest = 0;
    for (int i = 0; i < WINDOW; i++) {
        const int16_t value = (int16_t)((sound->samples[i] * window_of[i]) >> 12);
        const int16_t size = (int16_t)(value < 0 ? -value : value);
        signal[i] = value;
        if (size > largest) largest = size;
    }
    const int shift = 15 - bits_of((uint32_t)largest);
    for (int i = 0; i < HALF; i++) {
        const int at = 2 * order[i];
        pairs[i].real = at < WINDOW ? (int16_t)((uint32_t)signal[at] << shift) : 0;
        pairs[i].imaginary = at + 1 < WINDOW ? (int16_t)((uint32_t)signal[at + 1] << shift) : 0;
    }
    transform(pairs);
    real_spectrum(pairs, spectrum);
    uint64_t rising = 0, falling = 0;
    for (int slope = 0, at = 0; slope <= CHANNELS; slope++) {
        for (int k = first_bin[slope]; k < first_bin[slope + 1]; k++, at++) {
            const uint32_t energy = (uint32_t)(spectrum[k].real * spectrum[k].real) +
                                    (uint32_t)(spectrum[k].imaginary * spectrum[k].imaginary);
            rising += (uint64_t)(uint32_t)weights[at] * energy;
            falling += (uint64_t)(uint32_t)unweights[at] * energy;
        }
        if (slope) frame[slope - 1] = scaled(root_of(rising) >> shift, sound->noise, slope - 1);
        rising = falling;
        falling = 0;
    }
}

int model_sound_frame(model_sound *sound, const int16_t *samples, uint16_t *frame)
{
    memcpy(sound->samples + sound->used, samples, STEP * sizeof *samples);
    sound->used += STEP;
    if (sound->used < WINDOW) return 0;
    frame_of(sound, frame);
    sound->used -= STEP;
    memmove(sound->samples, sound->samples + STEP, (size_t)sound->used * sizeof *sound->samples);
    return 1;
}

void model_sound_store(const uint16_t *frame, @TYPE@ *row)
{
    for (int c = 0; c < CHANNELS; c++) {
        int low = 0, high = @LEAST_COUNT@;
        while (low < high) { /* how many of `least` are reached */
            const int middle = (low + high) / 2;
            if (frame[c] >= least[middle])
                low = middle + 1;
            else
                high = middle;
        }
        row[c] = (@TYPE@)(low + @FIRST_VALUE@);
    }
}
@CODE@
