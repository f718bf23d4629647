/* ADD and SUB. An operand with fewer numbers is repeated. */
typedef struct {
    int count, count0, count1;
    int zero_point0, zero_point1, zero_point;
    int32_t multiplier0, multiplier1, multiplier;
    int right0, right1, right;
    int sign; /* of the second operand */
    int low, high;
} ep_add_layer;

/* ep_divide for |v| < 2^30 with what does not depend on v computed before. */
typedef struct {
    int32_t ties; /* -1: halves of negative numbers are rounded down; 0: nothing is rounded */
    int32_t half;
    int right;
} ep_rounding;

EP_INLINE ep_rounding ep_rounding_of(int right)
{
    const ep_rounding r = {right ? -1 : 0, right ? (int32_t)1 << (right - 1) : 0, right};
    return r;
}

EP_INLINE int32_t ep_round(const ep_rounding *r, int32_t v)
{
    return (v + (r->ties & (v >> 31)) + r->half) >> r->right;
}

#if EP_MVE
EP_INLINE int32x4_t ep_round4(const ep_rounding *r, int32x4_t v)
{
    return ep_divide4(v, vdupq_n_s32(r->ties), vdupq_n_s32(-r->right));
}

EP_INLINE int32x4_t ep_add_term(int32x4_t v, int32_t zero, int32_t multiplier, const ep_rounding *r)
{
    return ep_round4(r, vqrdmulhq_n_s32(vsubq_n_s32(vshlq_n_s32(v, 20), zero), multiplier));
}
#endif

/* Order: one number after another, or four; a repeated operand is read until the end. */
EP_KERNEL void ep_add(const ep_add_layer *l, const int8_t *a, const int8_t *b, int8_t *out)
{
    const ep_add_layer c = *l;
    const ep_rounding rounding0 = ep_rounding_of(c.right0), rounding1 = ep_rounding_of(c.right1);
    const ep_rounding rounding = ep_rounding_of(c.right);
    const int32_t zero0 = c.zero_point0 * (1 << 20), zero1 = c.zero_point1 * (1 << 20);
    const int8_t *const end = out + c.count;
    for (int i = 0, j = 0; out != end;) {
        const int left = (int)(end - out), left0 = c.count0 - i, left1 = c.count1 - j; /* until an operand begins again */
        const int run = left0 < left1 ? (left0 < left ? left0 : left) : (left1 < left ? left1 : left);
        const int8_t *p = a + i, *q = b + j;
        const int8_t *const stop = out + run;
#if EP_MVE
        for (; stop - out >= 4; p += 4, q += 4, out += 4) {
            const int32x4_t x = ep_add_term(ep_load_bytes4(p), zero0, c.multiplier0, &rounding0);
            const int32x4_t y = ep_add_term(ep_load_bytes4(q), zero1, c.multiplier1, &rounding1);
            const int32x4_t sum = vqrdmulhq_n_s32(vmlaq_n_s32(x, y, c.sign), c.multiplier);
            const int32x4_t r = vaddq_n_s32(ep_round4(&rounding, sum), c.zero_point);
            ep_store_bytes4(out, vminq_s32(vmaxq_s32(r, vdupq_n_s32(c.low)), vdupq_n_s32(c.high)));
        }
#endif
        for (; out != stop; out++) {
            const int32_t x = ep_round(&rounding0, ep_high_small(*p++ * (1 << 20) - zero0, c.multiplier0));
            const int32_t y = ep_round(&rounding1, ep_high_small(*q++ * (1 << 20) - zero1, c.multiplier1));
            const int32_t sum = ep_round(&rounding, ep_high_small(x + c.sign * y, c.multiplier));
            *out = ep_clamp(sum + c.zero_point, c.low, c.high);
        }
        i = i + run == c.count0 ? 0 : i + run;
        j = j + run == c.count1 ? 0 : j + run;
    }
}
