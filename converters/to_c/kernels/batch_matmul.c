/* BATCH_MATMUL: products of pairs of matrices of activations. */
typedef struct {
    int pairs, rows, columns, depth;
    int whole0, whole1;            /* bytes of a matrix of each operand; 0 if all pairs have the same one */
    int row0, deep0;               /* bytes from one row to the next, and along the sum, of the left ones */
    int column1, deep1;            /* bytes from one column to the next, and along the sum, of the right ones */
    int zero_point0, zero_point1, zero_point;
    int32_t multiplier;
    int right;
    int low, high;
} ep_batch_matmul_layer;

/* Order: numbers row by row; what they are made of is read until the last one. */
EP_KERNEL void ep_batch_matmul(const ep_batch_matmul_layer *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    const ep_batch_matmul_layer c = *l;
    for (int pair = 0; pair < c.pairs; pair++, a += c.whole0, b += c.whole1)
        for (int y = 0; y < c.rows; y++)
            for (int x = 0; x < c.columns; x++) {
                const int8_t *p = a + y * c.row0, *q = b + x * c.column1;
                int32_t sum = 0;
                for (int k = 0; k < c.depth; k++, p += c.deep0, q += c.deep1)
                    sum += (*p - c.zero_point0) * (*q - c.zero_point1);
                *out++ = ep_clamp(ep_scale(sum, c.multiplier, c.right) + c.zero_point, c.low, c.high);
            }
}
