/* FULLY_CONNECTED. The offset of the input is part of the biases. */
typedef struct {
    ep_scaling scaling;     /* numbers of outputs in fours */
    const int16_t *weights; /* as dot.c says, outputs in fours */
    const int32_t *bias;    /* in fours */
    int rows, inputs, outputs;
    int channel_mask; /* 0: one multiplier for all outputs, four times; -1: one for each */
} ep_dense_layer;

/* Order: each row of the input is read until its last output is written. */
EP_KERNEL void ep_dense(const ep_dense_layer *l, const int8_t *in, int8_t *out)
{
    const ep_scaling s = l->scaling;
    const int inputs = l->inputs, outputs = l->outputs, whole = inputs & ~7, mask = l->channel_mask;
    for (int r = 0; r < l->rows; r++, in += inputs, out += outputs) {
        const int16_t *w = l->weights;
        int8_t rest[8] = {0}; /* the weights of what fills it are 0 */
        memcpy(rest, in + whole, (size_t)(inputs - whole));
        for (int o = 0; o < outputs; o += 4) {
            const int32_t *const bias = l->bias + o;
            int32_t a[4] = {bias[0], bias[1], bias[2], bias[3]};
            ep_dot_1x4(whole, in, w, a);
            w += 2 * whole;
            if (whole < inputs) {
                ep_dot_1x4(8, rest, w, a);
                w += 16;
            }
            ep_scale4(&s, o & mask, a);
            ep_write4(out + o, outputs - o, a);
        }
    }
}
