/* RESIZE_BILINEAR: each number is a mean of four, with weights in 1/1024. */
typedef struct {
    int out_height, out_width;
    int row, channels;                           /* bytes of a row of the input, and of a pixel */
    const int16_t *rows, *next_rows, *row_parts; /* for each row of the output: two of the input, weight of the second */
    const int16_t *columns, *next_columns, *column_parts;
} ep_resize_bilinear_layer;

/* Order: pixels row by row. */
EP_KERNEL void ep_resize_bilinear(const ep_resize_bilinear_layer *l, const int8_t *in, int8_t *out)
{
    const int c = l->channels;
    for (int y = 0; y < l->out_height; y++) {
        const int8_t *const above = in + l->rows[y] * l->row, *const below = in + l->next_rows[y] * l->row;
        const int32_t down = l->row_parts[y], up = 1024 - down;
        for (int x = 0; x < l->out_width; x++) {
            const int left = l->columns[x] * c, right = l->next_columns[x] * c;
            const int32_t on = l->column_parts[x], back = 1024 - on;
            for (int k = 0; k < c; k++) {
                const int32_t sum = (above[left + k] * up + below[left + k] * down) * back
                    + (above[right + k] * up + below[right + k] * down) * on;
                *out++ = (int8_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
            }
        }
    }
}
