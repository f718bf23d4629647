/* RESIZE_NEAREST_NEIGHBOR. */
typedef struct {
    int out_height, out_width;
    int row, channels;                /* bytes of a row of the input, and of a pixel */
    const int16_t *rows, *columns;    /* of the input, for each one of the output */
} ep_resize_nearest_layer;

/* Order: pixels row by row; a pixel is read when it is written, and may lie where it goes. */
EP_KERNEL void ep_resize_nearest(const ep_resize_nearest_layer *l, const int8_t *in, int8_t *out)
{
    const int c = l->channels;
    for (int y = 0; y < l->out_height; y++) {
        const int8_t *const row = in + l->rows[y] * l->row;
        for (int x = 0; x < l->out_width; x++, out += c) memmove(out, row + l->columns[x] * c, (size_t)c);
    }
}
