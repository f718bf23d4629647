/* TRANSPOSE and BROADCAST_TO: blocks of neighbouring numbers in another order, or again and again. */
typedef struct {
    int count;                      /* bytes of the output */
    int axes;                       /* of the output, in blocks */
    int bytes;                      /* of a block */
    const int32_t *sizes, *steps;   /* of each axis: blocks, and bytes of the input from one to the next */
} ep_transpose_layer;

/* Order: blocks as the output has them. */
EP_KERNEL void ep_transpose(const ep_transpose_layer *l, const int8_t *in, int8_t *out)
{
    int32_t at[8] = {0}, from = 0;
    for (const int8_t *const end = out + l->count; out != end; out += l->bytes) {
        memcpy(out, in + from, (size_t)l->bytes);
        for (int axis = l->axes - 1; axis >= 0; axis--) {
            from += l->steps[axis];
            if (++at[axis] < l->sizes[axis]) break;
            from -= l->sizes[axis] * l->steps[axis];
            at[axis] = 0;
        }
    }
}
