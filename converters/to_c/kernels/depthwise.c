/* DEPTHWISE_CONV_2D with one output a channel and channels in fours. Weights, of 16 bits: for each four channels and pair
   of taps, those of both taps for one channel after the other. The offset of the input is part of the biases. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;
    const int16_t *weights;
    const int32_t *bias;
    int in_zero_point;
} ep_depthwise_layer;

/* All channels of a pixel, from pointers to an even number of its taps. */
EP_KERNEL void ep_depthwise_pixel(const ep_depthwise_layer *l, const int8_t *const *taps, const int8_t *const *end, int8_t *out)
{
    const ep_scaling s = l->scaling;
    const int c = l->geometry.channels;
    const int16_t *w = l->weights;
    const int32_t *const bias = l->bias;
    for (int k = 0; k < c; k += 4) {
        int32_t a0 = bias[k], a1 = bias[k + 1], a2 = bias[k + 2], a3 = bias[k + 3];
        for (const int8_t *const *tap = taps; tap != end; tap += 2, w += 8) {
            const int8_t *const x0 = tap[0] + k, *const x1 = tap[1] + k;
#if EP_DSP
            const uint32_t u = ep_load4(x0), v = ep_load4(x1), first = ep_lower(u, v), last = ep_upper(u, v);
            a0 = __smlad(ep_even(first), ep_load4(w), a0);
            a1 = __smlad(ep_odd(first), ep_load4(w + 2), a1);
            a2 = __smlad(ep_even(last), ep_load4(w + 4), a2);
            a3 = __smlad(ep_odd(last), ep_load4(w + 6), a3);
#else
            a0 += x0[0] * w[0] + x1[0] * w[1];
            a1 += x0[1] * w[2] + x1[1] * w[3];
            a2 += x0[2] * w[4] + x1[2] * w[5];
            a3 += x0[3] * w[6] + x1[3] * w[7];
#endif
        }
        out[k] = ep_scaled(&s, k, a0);
        out[k + 1] = ep_scaled(&s, k + 1, a1);
        out[k + 2] = ep_scaled(&s, k + 2, a2);
        out[k + 3] = ep_scaled(&s, k + 3, a3);
    }
}

/* Order: pixels row by row, four channels of all taps at a time. `zeros` takes a pixel of the input's zero point. */
EP_KERNEL void ep_depthwise(const ep_depthwise_layer *l, const int8_t *in, int8_t *out, int8_t *zeros)
{
    const ep_geometry *const g = &l->geometry;
    const int h = g->height, w = g->width, c = g->channels, kh = g->kernel_height, kw = g->kernel_width;
    const int8_t *taps[EP_TAPS + 1];
    memset(zeros, l->in_zero_point, (size_t)c);
    taps[kh * kw] = zeros; /* the last pair's second one if their number is odd */
    for (int y = 0; y < g->out_height; y++)
        for (int x = 0; x < g->out_width; x++, out += c) {
            int n = 0;
            for (int ky = 0, yy = y * g->stride_y - g->pad_y; ky < kh; ky++, yy += g->dilation_y)
                for (int kx = 0, xx = x * g->stride_x - g->pad_x; kx < kw; kx++, xx += g->dilation_x)
                    taps[n++] = yy < 0 || yy >= h || xx < 0 || xx >= w ? zeros : in + (yy * w + xx) * c;
            ep_depthwise_pixel(l, taps, taps + (n + 1) / 2 * 2, out);
        }
}
