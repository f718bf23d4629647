/* DEPTHWISE_CONV_2D with any number of channels and of outputs a channel. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;
    const int8_t *weights;
    const int32_t *bias;
    int in_zero_point;
} ep_depthwise_any_layer;

/* Order: pixels row by row. A pixel's windows are read until its last channel is written. */
EP_KERNEL void ep_depthwise_any(const ep_depthwise_any_layer *l, const int8_t *in, int8_t *out)
{
    const ep_geometry *const g = &l->geometry;
    const ep_scaling s = l->scaling;
    const int h = g->height, w = g->width, c = g->channels, oc = g->out_channels, multiplier = oc / c;
    for (int y = 0; y < g->out_height; y++)
        for (int x = 0; x < g->out_width; x++, out += oc)
            for (int o = 0; o < oc; o++) {
                const int8_t *wt = l->weights + o;
                const int k = o / multiplier;
                int32_t a = l->bias[o];
                for (int ky = 0, yy = y * g->stride_y - g->pad_y; ky < g->kernel_height; ky++, yy += g->dilation_y)
                    for (int kx = 0, xx = x * g->stride_x - g->pad_x; kx < g->kernel_width;
                         kx++, xx += g->dilation_x, wt += oc) {
                        if (yy < 0 || yy >= h || xx < 0 || xx >= w) continue;
                        a += *wt * (in[(yy * w + xx) * c + k] - l->in_zero_point);
                    }
                out[o] = ep_scaled(&s, o, a);
            }
}
