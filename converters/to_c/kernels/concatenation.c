/* CONCATENATION of two tensors, row by row: all axes before that along which they are joined are rows. */
typedef struct {
    int rows;
    int bytes0, bytes1;  /* of a row of each */
} ep_concatenation_layer;

/* Order: row r of both inputs is read when row r of the output is written. */
EP_KERNEL void ep_concatenation(const ep_concatenation_layer *l, const int8_t *in0, const int8_t *in1, int8_t *out)
{
    for (int row = 0; row < l->rows; row++, in0 += l->bytes0, in1 += l->bytes1) {
        memmove(out, in0, (size_t)l->bytes0);
        out += l->bytes0;
        memmove(out, in1, (size_t)l->bytes1);
        out += l->bytes1;
    }
}
