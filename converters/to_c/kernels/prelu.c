/* PRELU. An operand with fewer numbers is repeated. */
typedef struct {
    int count, count0, count1;
    int zero_point0, zero_point1, zero_point;
    int32_t multiplier0;
    int right0;
    int32_t multiplier1;  /* of products with slopes */
    int right1;
    int low, high;
} ep_prelu_layer;

/* Order: one number after another; a repeated operand is read until the end. */
EP_KERNEL void ep_prelu(const ep_prelu_layer *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    const ep_prelu_layer c = *l;
    for (int i = 0, j = 0, k = 0; k < c.count; k++) {
        const int32_t value = a[i] - c.zero_point0;
        const int32_t scaled = value >= 0 ? ep_scale(value, c.multiplier0, c.right0)
                                          : ep_scale(value * (b[j] - c.zero_point1), c.multiplier1, c.right1);
        out[k] = ep_clamp(scaled + c.zero_point, c.low, c.high);
        if (++i == c.count0) i = 0;
        if (++j == c.count1) j = 0;
    }
}
