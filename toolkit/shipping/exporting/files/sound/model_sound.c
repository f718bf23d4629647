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
static const uint16_t least[@LEAST_COUNT@] = {
@LEAST@
};

static int bits_of(uint32_t n)
{
    int bits = 0;
    for (; n; n >>= 1) bits++;
    return bits;
}

static int16_t rounded(int32_t product) { return (int16_t)((product + (1 << 14)) >> 15); }

static complex16 times(complex16 a, const int16_t *root)
{
    const complex16 product = {rounded(a.real * root[0] - a.imaginary * root[1]),
                                rounded(a.real * root[1] + a.imaginary * root[0])};
    return product;
}

static complex16 divided(complex16 a, int by)
{
    const int32_t share = 32767 / by;
    const complex16 part = {rounded(a.real * share), rounded(a.imaginary * share)};
    return part;
}

static complex16 plus(complex16 a, complex16 b)
{
    const complex16 sum = {(int16_t)(a.real + b.real), (int16_t)(a.imaginary + b.imaginary)};
    return sum;
}

static complex16 minus(complex16 a, complex16 b)
{
    const complex16 rest = {(int16_t)(a.real - b.real), (int16_t)(a.imaginary - b.imaginary)};
    return rest;
}

/* Of the input that stands at a place, so that every step of the transform combines neighbours. */
static int number_at(int place)
{
    int number = 0, scale = 1, size = HALF;
    while (size > 1) {
        const int radix = size % 4 == 0 ? 4 : 2;
        size /= radix;
        number += place / size * scale;
        place %= size;
        scale *= radix;
    }
    return number;
}

/* The transform of HALF complex numbers in that order, in place. */
static void transform(complex16 *f)
{
    int length = 1;
    if (bits_of(HALF) % 2 == 0) { /* no power of four: a step of two first, whose root is that of 0 */
        for (int i = 0; i < HALF; i += 2) {
            const complex16 a = divided(f[i], 2), b = times(divided(f[i + 1], 2), twiddles);
            f[i] = plus(a, b);
            f[i + 1] = minus(a, b);
        }
        length = 2;
    }
    for (; length < HALF; length *= 4) {
        const int turn = HALF / (4 * length);
        for (complex16 *g = f; g < f + HALF; g += 4 * length)
            for (int k = 0; k < length; k++) {
                const complex16 a = divided(g[k], 4);
                const complex16 b = times(divided(g[k + length], 4), twiddles + 2 * k * turn);
                const complex16 c = times(divided(g[k + 2 * length], 4), twiddles + 4 * k * turn);
                const complex16 d = times(divided(g[k + 3 * length], 4), twiddles + 6 * k * turn);
                const complex16 sum = plus(a, c), rest = minus(a, c), even = plus(b, d), odd = minus(b, d);
                const complex16 turned = {odd.imaginary, (int16_t)-odd.real};
                g[k] = plus(sum, even);
                g[k + length] = plus(rest, turned);
                g[k + 2 * length] = minus(sum, even);
                g[k + 3 * length] = minus(rest, turned);
            }
    }
}

/* Half of the spectrum of SIZE real numbers, from their transform in pairs; bin 0 is not made. */
static void real_spectrum(const complex16 *pairs, complex16 *spectrum)
{
    for (int k = 1; k <= HALF / 2; k++) {
        const complex16 other = {pairs[HALF - k].real, (int16_t)-pairs[HALF - k].imaginary};
        const complex16 up = divided(pairs[k], 2), down = divided(other, 2);
        const complex16 even = plus(up, down), odd = times(minus(up, down), super_twiddles + 2 * (k - 1));
        spectrum[k].real = (int16_t)((even.real + odd.real) >> 1);
        spectrum[k].imaginary = (int16_t)((even.imaginary + odd.imaginary) >> 1);
        spectrum[HALF - k].real = (int16_t)((even.real - odd.real) >> 1);
        spectrum[HALF - k].imaginary = (int16_t)((odd.imaginary - even.imaginary) >> 1);
    }
}

/* The nearest whole root, as TFLM rounds it: of a number of 32 bits, it has 16. */
static uint32_t root_of(uint64_t n)
{
    const uint32_t most = n >> 32 ? 0xffffffffu : 0xffffu;
    uint64_t rest = n, root = 0, bit = (uint64_t)1 << 62;
    while (bit > rest) bit >>= 2;
    for (; bit; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root + (rest > root && root != most);
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
        const int at = 2 * number_at(i);
        pairs[i].real = at < WINDOW ? (int16_t)((uint32_t)signal[at] << shift) : 0;
        pairs[i].imaginary = at + 1 < WINDOW ? (int16_t)((uint32_t)signal[at + 1] << shift) : 0;
    }
    transform(pairs);
    real_spectrum(pairs, spectrum);
    uint64_t rising = 0, falling = 0;
    for (int slope = 0, at = 0; slope <= CHANNELS; slope++) {
        for (int k = first_bin[slope]; k < first_bin[slope + 1]; k++, at++) {
            const uint64_t energy =
                (uint64_t)(spectrum[k].real * spectrum[k].real) + (uint64_t)(spectrum[k].imaginary * spectrum[k].imaginary);
            rising += (uint64_t)weights[at] * energy;
            falling += (uint64_t)unweights[at] * energy;
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
