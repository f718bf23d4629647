/* PAD of height and width. */
typedef struct {
    int height, row;               /* rows of the input, and bytes of one */
    int top, bottom, left, right;  /* rows above and below; bytes before and behind each row */
    int zero_point;
} ep_pad_layer;

/* Order: all of the input is read after the first output is written. */
EP_KERNEL void ep_pad(const ep_pad_layer *l, const int8_t *in, int8_t *out)
{
    const int whole = l->left + l->row + l->right;
    memset(out, l->zero_point, (size_t)(l->top * whole));
    out += l->top * whole;
    for (int y = 0; y < l->height; y++, in += l->row, out += whole) {
        memset(out, l->zero_point, (size_t)l->left);
        memcpy(out + l->left, in, (size_t)l->row);
        memset(out + l->left + l->row, l->zero_point, (size_t)l->right);
    }
    memset(out, l->zero_point, (size_t)(l->bottom * whole));
}
