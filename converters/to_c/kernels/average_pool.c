/* AVERAGE_POOL_2D. Padding is not counted. */
typedef struct {
    ep_geometry geometry;
    int low, high;
} ep_average_pool_layer;

/* Order: pixels row by row, channel by channel. */
EP_KERNEL void ep_average_pool(const ep_average_pool_layer *l, const int8_t *in, int8_t *out)
{
    const ep_geometry *const g = &l->geometry;
    const int h = g->height, w = g->width, c = g->channels, low = l->low, high = l->high;
    for (int y = 0; y < g->out_height; y++)
        for (int x = 0; x < g->out_width; x++, out += c) {
            const int top = y * g->stride_y - g->pad_y, left = x * g->stride_x - g->pad_x;
            const int y0 = top < 0 ? 0 : top, y1 = top + g->kernel_height < h ? top + g->kernel_height : h;
            const int x0 = left < 0 ? 0 : left, x1 = left + g->kernel_width < w ? left + g->kernel_width : w;
            const int n = (y1 - y0) * (x1 - x0);
            for (int k = 0; k < c; k++) {
                int32_t a = 0;
                for (int yy = y0; yy < y1; yy++)
                    for (const int8_t *p = in + (yy * w + x0) * c + k, *end = p + (x1 - x0) * c; p != end; p += c) a += *p;
                out[k] = ep_clamp((a > 0 ? a + n / 2 : a - n / 2) / n, low, high);
            }
        }
}
