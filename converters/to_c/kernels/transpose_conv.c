/* TRANSPOSE_CONV: a pixel of the output is made of the pixels of the input whose windows reach it. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;
    const int8_t *weights;
    const int32_t *bias;
    int in_zero_point;
} ep_transpose_conv_layer;

/* The first of the rows, or columns, whose windows reach number `at`, and the one behind the last. */
EP_INLINE int ep_first_to_reach(int at, int kernel, int stride)
{
    return at < kernel ? 0 : (at - kernel) / stride + 1;
}
EP_INLINE int ep_end_of_reach(int at, int stride, int size)
{
    return at / stride + 1 < size ? at / stride + 1 : size;
}

/* Order: pixels row by row. A pixel's inputs are read until its last channel is written. */
EP_KERNEL void ep_transpose_conv(const ep_transpose_conv_layer *l, const int8_t *in, int8_t *out)
{
    const ep_geometry *const g = &l->geometry;
    const ep_scaling s = l->scaling;
    const int w = g->width, c = g->channels, oc = g->out_channels, kh = g->kernel_height, kw = g->kernel_width;
    for (int y = g->pad_y; y < g->pad_y + g->out_height; y++) {
        const int y0 = ep_first_to_reach(y, kh, g->stride_y), y1 = ep_end_of_reach(y, g->stride_y, g->height);
        for (int x = g->pad_x; x < g->pad_x + g->out_width; x++, out += oc) {
            const int x0 = ep_first_to_reach(x, kw, g->stride_x), x1 = ep_end_of_reach(x, g->stride_x, w);
            for (int o = 0; o < oc; o++) {
                int32_t a = l->bias[o];
                for (int yy = y0; yy < y1; yy++)
                    for (int xx = x0; xx < x1; xx++) {
                        const int tap = (o * kh + y - yy * g->stride_y) * kw + x - xx * g->stride_x;
                        const int8_t *const wt = l->weights + tap * c, *const p = in + (yy * w + xx) * c;
                        for (int k = 0; k < c; k++) a += wt[k] * (p[k] - l->in_zero_point);
                    }
                out[o] = ep_scaled(&s, o, a);
            }
        }
    }
}
