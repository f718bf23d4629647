/* DEPTHWISE_CONV_2D with one output a channel and channels in fours. Weights, of 16 bits: for each four channels and pair
   of taps, those of both taps for one channel after the other; 0 of the second tap if their number is odd. The offset of
   the input is part of the biases. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;
    const int16_t *weights;
    const int32_t *bias;
    int in_zero_point;
} ep_depthwise_layer;

#if EP_MVE
/* Four channels of two taps; each word of weights is one channel's. */
EP_INLINE int32x4_t ep_depthwise_pair4(const int8_t *x0, const int8_t *x1, const int16_t *w, int32x4_t sums)
{
    const int32x4_t both = vldrwq_s32((const int32_t *)(const void *)w);
    const int16x8_t second = vreinterpretq_s16_s32(vshrq_n_s32(both, 16));
    sums = vaddq_s32(sums, vmullbq_int_s16(vreinterpretq_s16_s32(ep_load_bytes4(x0)), vreinterpretq_s16_s32(both)));
    return vaddq_s32(sums, vmullbq_int_s16(vreinterpretq_s16_s32(ep_load_bytes4(x1)), second));
}
#endif

/* Four channels of two taps. */
EP_INLINE void ep_depthwise_pair(const int8_t *x0, const int8_t *x1, const int16_t *w, int32_t a[4])
{
#if EP_DSP
    const uint32_t u = ep_load4(x0), v = ep_load4(x1), first = ep_lower(u, v), last = ep_upper(u, v);
    a[0] = __smlad(ep_even(first), ep_load4(w), a[0]);
    a[1] = __smlad(ep_odd(first), ep_load4(w + 2), a[1]);
    a[2] = __smlad(ep_even(last), ep_load4(w + 4), a[2]);
    a[3] = __smlad(ep_odd(last), ep_load4(w + 6), a[3]);
    EP_IN_ORDER
#else
    for (int k = 0; k < 4; k++) a[k] += x0[k] * w[2 * k] + x1[k] * w[2 * k + 1];
#endif
}

/* Four channels of the last one of an odd number of taps. */
EP_INLINE void ep_depthwise_last(const int8_t *x, const int16_t *w, int32_t a[4])
{
#if EP_DSP
    const uint32_t u = ep_load4(x), even = ep_even(u), odd = ep_odd(u); /* channels 0 and 2, 1 and 3 */
    a[0] = __smlad(even, ep_load4(w), a[0]);
    a[1] = __smlad(odd, ep_load4(w + 2), a[1]);
    a[2] = __smladx(even, ep_load4(w + 4), a[2]);
    a[3] = __smladx(odd, ep_load4(w + 6), a[3]);
#else
    for (int k = 0; k < 4; k++) a[k] += x[k] * w[2 * k];
#endif
}

/* All channels of a pixel, whose taps lie at some distances from `in`. */
EP_KERNEL void ep_depthwise_pixel(const ep_depthwise_layer *l, const int8_t *in, const int *taps, int8_t *out)
{
    const ep_scaling s = l->scaling;
    const int channels = l->geometry.channels, count = l->geometry.kernel_height * l->geometry.kernel_width;
    const int16_t *w = l->weights;
    const int32_t *bias = l->bias;
    for (int k = 0; k < channels; k += 4, in += 4, bias += 4) {
#if EP_MVE
        int32_t a[4];
        int32x4_t sums = vldrwq_s32(bias);
        if (count == 9) { /* 3 x 3, the usual window; the last weights of an odd number are 0 */
            sums = ep_depthwise_pair4(in + taps[0], in + taps[1], w, sums);
            sums = ep_depthwise_pair4(in + taps[2], in + taps[3], w + 8, sums);
            sums = ep_depthwise_pair4(in + taps[4], in + taps[5], w + 16, sums);
            sums = ep_depthwise_pair4(in + taps[6], in + taps[7], w + 24, sums);
            sums = ep_depthwise_pair4(in + taps[8], in + taps[8], w + 32, sums);
            w += 40;
        } else {
            for (int t = 0; t < count; t += 2, w += 8)
                sums = ep_depthwise_pair4(in + taps[t], in + taps[t + 1 < count ? t + 1 : t], w, sums);
        }
        vstrwq_s32(a, sums);
#else
        int32_t a[4] = {bias[0], bias[1], bias[2], bias[3]};
        if (count == 9) { /* 3 x 3, the usual window */
            ep_depthwise_pair(in + taps[0], in + taps[1], w, a);
            ep_depthwise_pair(in + taps[2], in + taps[3], w + 8, a);
            ep_depthwise_pair(in + taps[4], in + taps[5], w + 16, a);
            ep_depthwise_pair(in + taps[6], in + taps[7], w + 24, a);
            ep_depthwise_last(in + taps[8], w + 32, a);
            w += 40;
        } else {
            int t = 0;
            for (; t + 1 < count; t += 2, w += 8) ep_depthwise_pair(in + taps[t], in + taps[t + 1], w, a);
            if (t < count) {
                ep_depthwise_last(in + taps[t], w, a);
                w += 8;
            }
        }
#endif
        ep_scale4(&s, k, a);
        ep_write4(out + k, 4, a);
    }
}

/* Order: pixels row by row, four channels of all taps at a time. `zeros` takes a pixel of the input's zero point. */
EP_KERNEL void ep_depthwise(const ep_depthwise_layer *l, const int8_t *in, int8_t *out, int8_t *zeros)
{
    const ep_geometry *const g = &l->geometry;
    const int h = g->height, w = g->width, c = g->channels, kh = g->kernel_height, kw = g->kernel_width;
    const int dy = g->dilation_y, dx = g->dilation_x, last_top = h - 1 - (kh - 1) * dy, last_left = w - 1 - (kw - 1) * dx;
    int inside[EP_TAPS], border[EP_TAPS]; /* distances of the taps from the window's first one, or from `in` */
    memset(zeros, l->in_zero_point, (size_t)c);
    for (int ky = 0, n = 0; ky < kh; ky++)
        for (int kx = 0; kx < kw; kx++) inside[n++] = (ky * dy * w + kx * dx) * c;
    for (int y = 0, top = -g->pad_y; y < g->out_height; y++, top += g->stride_y)
        for (int x = 0, left = -g->pad_x; x < g->out_width; x++, left += g->stride_x, out += c) {
            if (top >= 0 && left >= 0 && top <= last_top && left <= last_left) {
                ep_depthwise_pixel(l, in + (top * w + left) * c, inside, out);
                continue;
            }
            for (int ky = 0, n = 0; ky < kh; ky++)
                for (int kx = 0; kx < kw; kx++) {
                    const int yy = top + ky * dy, xx = left + kx * dx;
                    border[n++] = yy < 0 || yy >= h || xx < 0 || xx >= w ? (int)(zeros - in) : (yy * w + xx) * c;
                }
            ep_depthwise_pixel(l, in, border, out);
        }
}
