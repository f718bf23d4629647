/* SOFTMAX along the last axis, to a scale of 1/256 and a zero point of -128. */
typedef struct {
    int rows, count;
    const int32_t *table; /* exp of a number that is 0, 1, ... 255 steps below the greatest, 31 fractional bits */
    int least;            /* smaller differences, below 0, have no part in the sum */
} ep_softmax_layer;

/* Order: a row is read twice before its first output, and then number by number. */
EP_KERNEL void ep_softmax(const ep_softmax_layer *l, const int8_t *in, int8_t *out)
{
    const int n = l->count;
    for (int r = 0; r < l->rows; r++, in += n, out += n) {
        int most = -128, zeros = 0;
        int32_t sum = 0; /* 19 fractional bits */
        for (int i = 0; i < n; i++)
            if (in[i] > most) most = in[i];
        for (int i = 0; i < n; i++)
            if (in[i] - most >= l->least) sum += ep_divide(l->table[most - in[i]], 12);
        uint32_t u = (uint32_t)sum;
        for (; !(u & 0x80000000u); zeros++) u <<= 1;
        if (EP_MANY_CLASSES && zeros < 4) { /* none of 512 and more reaches a step: shifts by 32 bits and more give 0 */
            memset(out, -128, (size_t)n);
            continue;
        }
        const int32_t inverse = ep_inverse(u);
        for (int i = 0; i < n; i++) {
            const int32_t e = in[i] - most < l->least ? 0 : l->table[most - in[i]];
            out[i] = ep_clamp(ep_divide(ep_high(inverse, e), 12 - zeros + 23) - 128, -128, 127);
        }
    }
}
