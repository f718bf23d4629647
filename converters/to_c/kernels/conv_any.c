/* CONV_2D and FULLY_CONNECTED with weights of -128 that dot.c can't hold. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;
    const int8_t *weights;
    const int32_t *bias;
    int in_zero_point;
} ep_conv_any_layer;

/* Order: pixels row by row. A pixel's window is read until its last channel is written. */
EP_KERNEL void ep_conv_any(const ep_conv_any_layer *l, const int8_t *in, int8_t *out)
{
    const ep_geometry *const g = &l->geometry;
    const ep_scaling s = l->scaling;
    const int h = g->height, w = g->width, c = g->channels, oc = g->out_channels;
    for (int y = 0; y < g->out_height; y++)
        for (int x = 0; x < g->out_width; x++, out += oc) {
            const int8_t *wt = l->weights;
            for (int o = 0; o < oc; o++) {
                int32_t a = l->bias[o];
                for (int ky = 0, yy = y * g->stride_y - g->pad_y; ky < g->kernel_height; ky++, yy += g->dilation_y)
                    for (int kx = 0, xx = x * g->stride_x - g->pad_x; kx < g->kernel_width; kx++, xx += g->dilation_x, wt += c) {
                        if (yy < 0 || yy >= h || xx < 0 || xx >= w) continue;
                        for (int k = 0; k < c; k++) a += wt[k] * (in[(yy * w + xx) * c + k] - l->in_zero_point);
                    }
                out[o] = ep_scaled(&s, o, a);
            }
        }
}
