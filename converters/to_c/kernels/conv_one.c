/* CONV_2D and FULLY_CONNECTED with one channel, whose weights take a byte each. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;
    const int8_t *weights;
    const int32_t *bias; /* the offset of the input is part of it */
    int in_zero_point;
    int in_place; /* windows are read from where they lie: never outside of the image, in one piece */
} ep_conv_one_layer;

EP_INLINE int32_t ep_dot_1x1(int n, const int8_t *x, const int8_t *w, int32_t a)
{
#if EP_MVE
    for (; n > 0; n -= 16, x += 16, w += 16) {
        const mve_pred16_t some = vctp8q((uint32_t)n);
        a = vmladavaq_s8(a, vldrbq_z_s8(x, some), vldrbq_z_s8(w, some));
    }
#else
#if EP_DSP
    for (; n >= 4; n -= 4, x += 4, w += 4) {
        const uint32_t u = ep_load4(x), v = ep_load4(w);
        a = __smlad(ep_even(u), ep_even(v), a);
        a = __smlad(ep_odd(u), ep_odd(v), a);
    }
#endif
    for (; n > 0; n--) a += *x++ * *w++;
#endif
    return a;
}

/* Order: pixels row by row. A window is read before its output is written. */
EP_KERNEL void ep_conv_one(const ep_conv_one_layer *l, const int8_t *in, int8_t *out, int8_t *scratch)
{
    const ep_geometry *const g = &l->geometry;
    const ep_scaling s = l->scaling;
    const int window = g->kernel_height * g->kernel_width * g->channels;
    for (int y = 0, top = -g->pad_y; y < g->out_height; y++, top += g->stride_y)
        for (int x = 0, left = -g->pad_x; x < g->out_width; x++, left += g->stride_x) {
            const int8_t *numbers = scratch;
            if (l->in_place)
                numbers = in + (top * g->width + left) * g->channels;
            else
                ep_copy_window(g, l->in_zero_point, in, scratch, top, left);
            *out++ = ep_scaled(&s, 0, ep_dot_1x1(window, numbers, l->weights, *l->bias));
        }
}
