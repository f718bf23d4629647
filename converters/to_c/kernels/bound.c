/* MAXIMUM and MINIMUM. An operand with fewer numbers is repeated. */
typedef struct {
    int count, count0, count1;
    int largest;  /* whether the larger number is taken */
} ep_bound_layer;

/* Order: one number after another; a repeated operand is read until the end. */
EP_KERNEL void ep_bound(const ep_bound_layer *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    const ep_bound_layer c = *l;
    for (int i = 0, j = 0, k = 0; k < c.count; k++) {
        out[k] = (a[i] > b[j]) == c.largest ? a[i] : b[j];
        if (++i == c.count0) i = 0;
        if (++j == c.count1) j = 0;
    }
}
