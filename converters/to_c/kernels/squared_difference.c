/* SQUARED_DIFFERENCE. An operand with fewer numbers is repeated. */
typedef struct {
    int count, count0, count1;
    int zero_point0, zero_point1, zero_point;
    int32_t multiplier0, multiplier1, multiplier;
    int right0, right1, right;
    int low, high;
} ep_squared_difference_layer;

/* Order: one number after another; a repeated operand is read until the end. */
EP_KERNEL void ep_squared_difference(
    const ep_squared_difference_layer *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    const ep_squared_difference_layer c = *l;
    for (int i = 0, j = 0, k = 0; k < c.count; k++) {
        const int32_t x = ep_divide(ep_high((a[i] - c.zero_point0) * (1 << 7), c.multiplier0), c.right0);
        const int32_t y = ep_divide(ep_high((b[j] - c.zero_point1) * (1 << 7), c.multiplier1), c.right1);
        out[k] = ep_clamp(ep_scale((x - y) * (x - y), c.multiplier, c.right) + c.zero_point, c.low, c.high);
        if (++i == c.count0) i = 0;
        if (++j == c.count1) j = 0;
    }
}
