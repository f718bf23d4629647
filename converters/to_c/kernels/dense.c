/* FULLY_CONNECTED. The offset of the input is part of the biases; rows of weights are filled up to whole words. */
typedef struct {
    ep_scaling scaling;
    const int8_t *weights;
    const int32_t *bias;
    int rows, inputs, outputs;
    int channel_mask; /* 0: one multiplier for all outputs; -1: one for each */
} ep_dense_layer;

/* Order: each row of the input is read until its last output is written. */
EP_KERNEL void ep_dense(const ep_dense_layer *l, const int8_t *in, int8_t *out)
{
    const ep_scaling s = l->scaling;
    const int inputs = l->inputs, outputs = l->outputs, whole = inputs & ~3, filled = (inputs + 3) & ~3, mask = l->channel_mask;
    for (int r = 0; r < l->rows; r++, in += inputs, out += outputs) {
        const int8_t *w = l->weights;
        int o = 0;
        for (; o + 3 < outputs; o += 4, w += 4 * filled) {
            int32_t a[4];
            for (int k = 0; k < 4; k++) a[k] = l->bias[o + k];
            ep_dot_1x4(whole, in, w, a);
            for (int k = 0; k < 4; k++) {
                const int8_t *const last = w + 4 * whole + 4 * k;
                for (int i = whole; i < inputs; i++) a[k] += in[i] * last[i - whole];
                out[o + k] = ep_scaled(&s, (o + k) & mask, a[k]);
            }
        }
        for (; o < outputs; o++, w += filled) {
            int32_t a = ep_dot_1x1(whole, in, w, l->bias[o]);
            for (int i = whole; i < inputs; i++) a += in[i] * w[i];
            out[o] = ep_scaled(&s, o & mask, a);
        }
    }
}
