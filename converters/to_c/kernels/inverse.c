/* The reciprocal of TFLM, in integers. */
EP_INLINE int32_t ep_shift_left(int32_t v, int bits)
{
    const int64_t r = (int64_t)v * ((int64_t)1 << bits);
    return r > INT32_MAX ? INT32_MAX : r < INT32_MIN ? INT32_MIN : (int32_t)r;
}

/* 2^62 / u for u of at least 2^31: gemmlowp's one_over_one_plus_x_for_x_in_0_1, Newton's method from 48/17 - 32/17 * half,
   29 fractional bits. */
EP_INLINE int32_t ep_inverse(uint32_t u)
{
    const int32_t half = (int32_t)(((int64_t)(u - 0x80000000u) + INT32_MAX + 1) / 2);
    int32_t inverse = 1515870810 + ep_high(half, -1010580540);
    for (int k = 0; k < 3; k++) inverse += ep_shift_left(ep_high(inverse, 536870912 - ep_high(half, inverse)), 2);
    return ep_shift_left(inverse, 1);
}
