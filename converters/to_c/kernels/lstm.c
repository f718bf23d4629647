/* UNIDIRECTIONAL_SEQUENCE_LSTM of one sequence. Gates, in the order input, forget, cell, output, have 12 fractional bits
   before their function and 15 behind it. Offsets are part of the biases. */
typedef struct {
    const int16_t *weights, *recurrent_weights; /* as dot.c says, gate after gate, outputs of each in fours */
    const int32_t *bias, *recurrent_bias;       /* likewise */
    const int32_t *multiplier;                  /* of the sums of the input, of each gate, then of those of the state */
    const int8_t *right;
    const uint16_t *sigmoid; /* of n / 24, with 16 fractional bits */
    int steps, inputs, outputs;
    int update_right;               /* of the product of two gates */
    int clip;                       /* of the cells; 32768: none */
    int tanh_multiplier, tanh_right; /* from a cell to 12 fractional bits, times 3 */
    int32_t output_multiplier;
    int output_right, zero_point;
} ep_lstm_layer;

EP_INLINE int32_t ep_saturate16(int32_t v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

/* Between two numbers of the table, `bits` of v are the fraction. Both functions are symmetric. */
EP_INLINE int32_t ep_sigmoid_between(const uint16_t *table, int32_t v, int bits)
{
    const int32_t size = v < 0 ? -v : v, n = size >> bits;
    if (n >= 255) return (bits == 9 ? 65534 : 65535) << bits;
    return (table[n] << bits) + (size & ((1 << bits) - 1)) * (table[n + 1] - table[n]);
}

EP_INLINE int32_t ep_sigmoid16(const uint16_t *table, int32_t v)
{
    const int32_t s = ep_sigmoid_between(table, v, 9);
    return (v < 0 ? (1 << 25) - 1 - s + 512 : s + 512) >> 10;
}

EP_INLINE int32_t ep_tanh16(const uint16_t *table, int32_t v)
{
    const int32_t s = ep_sigmoid_between(table, v, 8) - (1 << 23);
    return (v < 0 ? 127 - s : s + 128) >> 8;
}

/* Adds the products of n numbers with the weights of four outputs. */
EP_SHARED void ep_lstm_sums(int n, const int8_t *x, const int16_t *w, int32_t a[4])
{
    const int whole = n & ~7;
    int8_t rest[8] = {0}; /* the weights of what fills it are 0 */
    ep_dot_1x4(whole, x, w, a);
    if (whole < n) {
        memcpy(rest, x + whole, (size_t)(n - whole));
        ep_dot_1x4(8, rest, w + 2 * whole, a);
    }
}

/* Order: each row of the input is read until the last four outputs of its row are written; outputs are read once more. */
EP_KERNEL void ep_lstm(const ep_lstm_layer *l, const int8_t *in, int8_t *hidden, int8_t *cells, int8_t *out)
{
    const int outputs = l->outputs, fours = (outputs + 3) & ~3;
    const int products = (l->inputs + 7) & ~7, recurrent = (outputs + 7) & ~7; /* as the weights are filled */
    int16_t *const cell = (int16_t *)(void *)cells;
    const int8_t *state = hidden;
    for (int t = 0; t < l->steps; t++, in += l->inputs, state = out, out += outputs)
        for (int o = 0; o < outputs; o += 4) {
            int32_t gates[4][4];
            for (int g = 0; g < 4; g++) {
                const int at = g * fours + o;
                int32_t *const a = gates[g], b[4];
                memcpy(a, l->bias + at, sizeof b);
                memcpy(b, l->recurrent_bias + at, sizeof b);
                ep_lstm_sums(l->inputs, in, l->weights + at / 2 * products, a);
                ep_lstm_sums(outputs, state, l->recurrent_weights + at / 2 * recurrent, b);
                for (int k = 0; k < 4; k++) {
                    const int32_t v = ep_saturate16(ep_scale(a[k], l->multiplier[g], l->right[g]));
                    const int32_t r = ep_saturate16(ep_scale(b[k], l->multiplier[4 + g], l->right[4 + g]));
                    const int32_t sum = 3 * ep_saturate16(v + r);
                    a[k] = g == 2 ? ep_tanh16(l->sigmoid, sum) : ep_sigmoid16(l->sigmoid, sum);
                }
            }
            for (int k = 0; k < 4 && o + k < outputs; k++) {
                const int32_t kept = ep_scale(gates[1][k] * cell[o + k], 1 << 30, 14);
                const int32_t added = ep_saturate16(ep_scale(gates[0][k] * gates[2][k], 1 << 30, l->update_right));
                const int32_t sum = ep_saturate16(kept + added);
                const int32_t c = sum > l->clip ? l->clip : sum < -l->clip ? -l->clip : sum;
                const int32_t half = (1 << l->tanh_right) >> 1;
                const int32_t v = ep_tanh16(l->sigmoid, (c * l->tanh_multiplier + half) >> l->tanh_right);
                cell[o + k] = (int16_t)c;
                out[o + k] = ep_clamp(
                    ep_scale(v * gates[3][k], l->output_multiplier, l->output_right) + l->zero_point, -128, 127);
            }
        }
    memcpy(hidden, state, (size_t)outputs);
}
