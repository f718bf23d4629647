/* Copy the window whose first pixel is (top, left); `filler` stands for what lies outside of the image. Returns its end. */
EP_INLINE int8_t *ep_copy_window(const ep_geometry *g, int filler, const int8_t *in, int8_t *at, int top, int left)
{
    const int h = g->height, w = g->width, c = g->channels, kh = g->kernel_height, kw = g->kernel_width;
    for (int ky = 0, y = top; ky < kh; ky++, y += g->dilation_y) {
        if (y < 0 || y >= h) {
            memset(at, filler, (size_t)(kw * c));
            at += kw * c;
        } else if (g->dilation_x == 1) {
            const int before = left < 0 ? (-left < kw ? -left : kw) : 0;
            const int after = left + kw > w ? (left + kw - w < kw ? left + kw - w : kw) : 0;
            const int inside = kw - before - after;
            memset(at, filler, (size_t)(before * c));
            at += before * c;
            memcpy(at, in + (y * w + left + before) * c, (size_t)(inside * c));
            at += inside * c;
            memset(at, filler, (size_t)(after * c));
            at += after * c;
        } else {
            for (int kx = 0, x = left; kx < kw; kx++, x += g->dilation_x, at += c) {
                if (x < 0 || x >= w)
                    memset(at, filler, (size_t)c);
                else
                    memcpy(at, in + (y * w + x) * c, (size_t)c);
            }
        }
    }
    return at;
}
