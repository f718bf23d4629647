/* DIV. An operand with fewer numbers is repeated. */
typedef struct {
    int count, count0, count1;
    int zero_point0, zero_point1, zero_point;
    int32_t multiplier;
    int right;
    int low, high;
} ep_div_layer;

/* Order: one number after another; a repeated operand is read until the end. */
EP_KERNEL void ep_div(const ep_div_layer *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    const ep_div_layer c = *l;
    for (int i = 0, j = 0, k = 0; k < c.count; k++) {
        int32_t x = a[i] - c.zero_point0, y = b[j] - c.zero_point1, quotient = 0;
        int right = c.right + 31; /* that of the quotient's product */
        if (y < 0) {
            x = -x;
            y = -y;
        }
        if (y == 0) { /* which TFLM does not define: without bound */
            quotient = x > 0 ? 256 : x < 0 ? -256 : 0;
        } else if (x != 0) {
            uint32_t u = (uint32_t)y << 23;
            for (; !(u & 0x80000000u); right--) u <<= 1;
            x *= 1 << 23;
            for (; x < (1 << 30) && x >= -(1 << 30); right++) x *= 2;
            /* a shift by more than 31 bits, which TFLM does not define, leaves nothing */
            if (right <= 31) quotient = ep_divide(ep_high(ep_high(x, ep_inverse(u)), c.multiplier), right);
        }
        out[k] = ep_clamp(quotient + c.zero_point, c.low, c.high);
        if (++i == c.count0) i = 0;
        if (++j == c.count1) j = 0;
    }
}
