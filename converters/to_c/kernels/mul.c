/* MUL. An operand with fewer numbers is repeated. */
typedef struct {
    int count, count0, count1;
    int zero_point0, zero_point1, zero_point;
    int32_t multiplier;
    int right;
    int low, high;
} ep_mul_layer;

/* Order: one number after another; a repeated operand is read until the end. */
EP_KERNEL void ep_mul(const ep_mul_layer *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    const ep_mul_layer c = *l;
    for (int i = 0, j = 0, k = 0; k < c.count; k++) {
        const int32_t product = (a[i] - c.zero_point0) * (b[j] - c.zero_point1);
        out[k] = ep_clamp(ep_scale(product, c.multiplier, c.right) + c.zero_point, c.low, c.high);
        if (++i == c.count0) i = 0;
        if (++j == c.count1) j = 0;
    }
}
