/* CONV_2D. The offset of the input is part of the biases, so that padding holds the input's zero point. */
typedef struct {
    ep_geometry geometry;
    ep_scaling scaling;
    const int8_t *weights;
    const int32_t *bias;
    int in_zero_point;
    int in_place; /* a window's rows have no gaps and whole words: inside the image it is read where it lies */
    int patch;    /* bytes of one window in the scratch memory, whole words; 0 if every window is read in place */
} ep_conv_layer;

/* The window whose first pixel is (top, left): a pointer into the image, or to a copy in `patch`, if there is one. */
EP_KERNEL const int8_t *ep_conv_window(const ep_conv_layer *l, const int8_t *in, int8_t *patch, int top, int left)
{
    const ep_geometry *const g = &l->geometry;
    const int h = g->height, w = g->width, c = g->channels, kw = g->kernel_width, zero_point = l->in_zero_point;
    int8_t *to = patch;
    if (!patch || (l->in_place && top >= 0 && left >= 0 && top + g->kernel_height <= h && left + kw <= w))
        return in + (top * w + left) * c;
    for (int ky = 0, y = top; ky < g->kernel_height; ky++, y += g->dilation_y) {
        if (y < 0 || y >= h) {
            memset(to, zero_point, (size_t)(kw * c));
            to += kw * c;
        } else if (g->dilation_x == 1) {
            const int before = left < 0 ? (-left < kw ? -left : kw) : 0;
            const int after = left + kw > w ? (left + kw - w < kw ? left + kw - w : kw) : 0;
            const int inside = kw - before - after;
            memset(to, zero_point, (size_t)(before * c));
            to += before * c;
            memcpy(to, in + (y * w + left + before) * c, (size_t)(inside * c));
            to += inside * c;
            memset(to, zero_point, (size_t)(after * c));
            to += after * c;
        } else {
            for (int kx = 0, x = left; kx < kw; kx++, x += g->dilation_x, to += c) {
                if (x < 0 || x >= w)
                    memset(to, zero_point, (size_t)c);
                else
                    memcpy(to, in + (y * w + x) * c, (size_t)c);
            }
        }
    }
    return patch;
}

/* All channels of two pixels, which are the same one at the end of a row of odd width. */
EP_KERNEL void ep_conv_pixels(const ep_conv_layer *l, const int8_t *p0, int row0, const int8_t *p1, int row1, int8_t *out0,
                              int8_t *out1)
{
    const ep_scaling s = l->scaling;
    const ep_geometry *const g = &l->geometry;
    const int rows = l->in_place ? g->kernel_height : 1, length = l->in_place ? g->kernel_width * g->channels : l->patch;
    const int channels = g->out_channels;
    const int8_t *w = l->weights;
    int o = 0;
    for (; o + 1 < channels; o += 2) {
        int32_t a[4];
        a[0] = a[2] = l->bias[o];
        a[1] = a[3] = l->bias[o + 1];
        for (int r = 0; r < rows; r++, w += 2 * length) ep_dot_2x2(length, p0 + r * row0, p1 + r * row1, w, a);
        out0[o] = ep_scaled(&s, o, a[0]);
        out0[o + 1] = ep_scaled(&s, o + 1, a[1]);
        out1[o] = ep_scaled(&s, o, a[2]);
        out1[o + 1] = ep_scaled(&s, o + 1, a[3]);
    }
    if (o < channels) {
        int32_t a0 = l->bias[o], a1 = a0;
        for (int r = 0; r < rows; r++, w += length) {
            a0 = ep_dot_1x1(length, p0 + r * row0, w, a0);
            a1 = ep_dot_1x1(length, p1 + r * row1, w, a1);
        }
        out0[o] = ep_scaled(&s, o, a0);
        out1[o] = ep_scaled(&s, o, a1);
    }
}

/* Order: pairs of pixels, row by row. The windows of a pair are read until its last channel is written. */
EP_KERNEL void ep_conv(const ep_conv_layer *l, const int8_t *in, int8_t *out, int8_t *patch)
{
    const ep_geometry *const g = &l->geometry;
    const int ow = g->out_width, oc = g->out_channels, image_row = g->width * g->channels;
    const int patch_row = l->in_place ? g->kernel_width * g->channels : l->patch;
    int8_t *const patch1 = patch ? patch + l->patch : patch;
    for (int y = 0; y < g->out_height; y++) {
        const int top = y * g->stride_y - g->pad_y;
        for (int x = 0; x < ow; x += 2) {
            const int left = x * g->stride_x - g->pad_x, second = x + 1 < ow;
            const int8_t *const p0 = ep_conv_window(l, in, patch, top, left);
            const int8_t *const p1 = second ? ep_conv_window(l, in, patch1, top, left + g->stride_x) : p0;
            const int row0 = p0 == patch ? patch_row : image_row;
            const int row1 = p1 == patch1 ? patch_row : second ? image_row : row0;
            ep_conv_pixels(l, p0, row0, p1, row1, out, second ? out + oc : out);
            out += second ? 2 * oc : oc;
        }
    }
}
