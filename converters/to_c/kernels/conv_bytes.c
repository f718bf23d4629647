/* CONV_2D in less memory than conv.c takes, and more instructions: windows stay in 8 bits, one pixel at a time. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;     /* numbers of channels in fours */
    const int16_t *weights; /* as dot.c says, channels in fours */
    const int32_t *bias;    /* in fours */
    int in_zero_point;
    int window;   /* numbers of a window, filled up to a multiple of 8; the weights of what fills it are 0 */
    int in_place; /* windows are read from where they lie: never outside of the image, in one piece, a multiple of 8 */
} ep_conv_bytes_layer;

/* Order: pixels row by row. A window is copied before its first output is written, or read until the last four are. */
EP_KERNEL void ep_conv_bytes(const ep_conv_bytes_layer *l, const int8_t *in, int8_t *out, int8_t *scratch)
{
    const ep_geometry *const g = &l->geometry;
    const ep_scaling s = l->scaling;
    const int channels = g->out_channels, window = l->window;
    for (int y = 0, top = -g->pad_y; y < g->out_height; y++, top += g->stride_y)
        for (int x = 0, left = -g->pad_x; x < g->out_width; x++, left += g->stride_x, out += channels) {
            const int8_t *numbers = scratch;
            const int16_t *w = l->weights;
            if (l->in_place) {
                numbers = in + (top * g->width + left) * g->channels;
            } else {
                int8_t *const end = ep_copy_window(g, l->in_zero_point, in, scratch, top, left);
                memset(end, 0, (size_t)(scratch + window - end));
            }
            for (int o = 0; o < channels; o += 4, w += 2 * window) {
                const int32_t *const bias = l->bias + o;
                int32_t a[4] = {bias[0], bias[1], bias[2], bias[3]};
                ep_dot_1x4(window, numbers, w, a);
                ep_scale4(&s, o, a);
                ep_write4(out + o, channels - o, a);
            }
        }
}
