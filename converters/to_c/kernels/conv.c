/* CONV_2D. The offset of the input is part of the biases, so that padding holds the input's zero point. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;      /* numbers of channels in fours */
    const int16_t *weights;  /* as dot.c says, channels in fours */
    const int32_t *bias;     /* in fours */
    int in_zero_point;
    int window;  /* numbers of a window, filled up to a multiple of 8; the weights of what fills it are 0 */
    int aligned; /* a window's rows have no gaps and whole words: inside the image it is widened from where it lies */
    int direct;  /* `aligned`, and no window leaves the image, so that none has a copy */
} ep_conv_layer;

/* Numbers as 16 bits in the order of dot.c, at every second word. */
EP_INLINE int16_t *ep_widen(const int8_t *from, int n, int16_t *to)
{
#if EP_MVE
    const uint32x4_t places = vidupq_n_u32(0, 8); /* bytes: every second word */
    for (; n >= 8; n -= 8, from += 8, to += 16)
        vstrwq_scatter_offset_s32((int32_t *)(void *)to, places, vreinterpretq_s32_s16(ep_numbers8(from)));
#endif
    for (const int8_t *const end = from + n; from != end; from += 4, to += 8) {
#if EP_DSP
        const uint32_t v = ep_load4(from);
        ep_store4(to, ep_even(v));
        ep_store4(to + 4, ep_odd(v));
#else
        to[0] = from[0];
        to[1] = from[2];
        to[4] = from[1];
        to[5] = from[3];
#endif
    }
    return to;
}

/* Widen the window whose first pixel is (top, left). `copy` takes its bytes if they do not lie as `aligned` says. */
EP_KERNEL void ep_conv_window(const ep_conv_layer *l, const int8_t *in, int16_t *to, int8_t *copy, int top, int left)
{
    const ep_geometry *const g = &l->geometry;
    const int h = g->height, w = g->width, c = g->channels, kh = g->kernel_height, kw = g->kernel_width;
    if (l->direct || (l->aligned && top >= 0 && left >= 0 && top + kh <= h && left + kw <= w)) {
        const int8_t *from = in + (top * w + left) * c;
        for (int ky = 0; ky < kh; ky++, from += w * c) to = ep_widen(from, kw * c, to);
        return;
    }
    ep_copy_window(g, l->in_zero_point, in, copy, top, left);
    ep_widen(copy, l->window, to);
}

/* All channels of two pixels. */
EP_KERNEL void ep_conv_pixels(const ep_conv_layer *l, const int16_t *windows, int8_t *out0, int8_t *out1)
{
    const ep_scaling s = l->scaling;
    const int window = l->window, channels = l->geometry.out_channels;
    const int16_t *w = l->weights;
    for (int o = 0; o < channels; o += 4, w += 2 * window) {
        const int32_t *const bias = l->bias + o;
        int32_t a[8] = {bias[0], bias[1], bias[2], bias[3], bias[0], bias[1], bias[2], bias[3]};
        ep_dot_2x4(window, windows, w, a);
        ep_scale4(&s, o, a);
        ep_scale4(&s, o, a + 4);
        ep_write4(out0 + o, channels - o, a);
        ep_write4(out1 + o, channels - o, a + 4);
    }
}

/* Order: pairs of pixels, one after the other; both windows are read before the first output is written. */
EP_KERNEL void ep_conv(const ep_conv_layer *l, const int8_t *in, int8_t *out, int8_t *scratch)
{
    const ep_geometry *const g = &l->geometry;
    const int ow = g->out_width, oc = g->out_channels;
    int16_t *const windows = (int16_t *)(void *)scratch;
    int8_t *const copy = scratch + 4 * l->window;
    int x = 0, top = -g->pad_y;
    for (int pixels = g->out_height * ow; pixels > 0; pixels -= 2, out += 2 * oc) {
        for (int k = 0; k < 2; k++) {
            ep_conv_window(l, in, windows + 2 * k, copy, top, x * g->stride_x - g->pad_x);
            if (pixels - k > 1 && ++x == ow) { /* the last pixel of an odd number is both of a pair */
                x = 0;
                top += g->stride_y;
            }
        }
        ep_conv_pixels(l, windows, out, pixels > 1 ? out + oc : out);
    }
}
