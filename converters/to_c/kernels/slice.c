/* A part of a tensor along one axis, row by row: all axes before that one are rows. */
typedef struct {
    int rows;
    int whole;  /* bytes of a row of the input */
    int first;  /* of its bytes, the first that is kept */
    int bytes;  /* of a row of the output */
} ep_slice_layer;

/* Order: row r of the input is read when row r of the output, which is no longer, is written. */
EP_KERNEL void ep_slice(const ep_slice_layer *l, const int8_t *in, int8_t *out)
{
    for (int row = 0; row < l->rows; row++, in += l->whole, out += l->bytes)
        memmove(out, in + l->first, (size_t)l->bytes);
}
