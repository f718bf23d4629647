
/* The gain at an estimate of noise: a parabola in the interval between powers of two that it lies in. */
static uint32_t gain_of(uint32_t estimate)
{
    if (estimate <= 2) return (uint32_t)(int32_t)gain[estimate];
    const int bits = bits_of(estimate);
    const int16_t *const parabola = gain + 4 * bits - 6;
    const int32_t part = (int32_t)((bits < 11 ? estimate << (11 - bits) : estimate >> (bits - 11)) & 0x3ff);
    int32_t height = (parabola[2] * part) >> 5;
    height = ((height + parabola[1] * 32) * part + (1 << 14)) >> 15;
    return (uint32_t)(int32_t)(int16_t)(height + parabola[0]);
}
