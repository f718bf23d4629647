/* Dot products with four channels at once, n numbers long, n a multiple of 8.

   A weight of 16 bits holds two channels: 256 times the second one's plus the first one's, which is its lower byte. A
   product with it is 256 times the second channel's plus the first one's; the sum of the first one's products, from the
   lower bytes, gives the other sum. It has 24 bits, into which 504 products of 8 bits fit. Numbers and
   weights come by fours in the order 0, 2, 1, 3, in which SXTB16 widens bytes. Weights: two numbers for the channels 0
   and 1, the same two for the channels 2 and 3, and so on. */
#define EP_LONGEST 504

#if EP_MVE
/* The same with eight products. */
#define EP_PRODUCTS8(first, both, x, w, low) \
    both = vmladavaq_s16(both, x, vreinterpretq_s16_s32(w)); \
    first = vmladavaq_s16(first, x, low);

/* The first channel's weights. */
EP_INLINE int16x8_t ep_first8(int32x4_t w) { return vmovlbq_s8(vreinterpretq_s8_s32(w)); }
/* Every second word of eight. */
EP_INLINE int32x4x2_t ep_words(const int16_t *p) { return vld2q_s32((const int32_t *)(const void *)p); }
/* Eight numbers as 16 bits in the order of weights. */
EP_INLINE int16x8_t ep_numbers8(const int8_t *x)
{
    static const uint16_t order[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    return ep_gather_bytes8(x, vldrhq_u16(order));
}
#endif
#if EP_DSP
/* Two products for each of both channels of a weight; `second` becomes their sum. */
#define EP_PRODUCTS(first, both, x, w, low) \
    both = __smlad(x, w, both); \
    first = __smlad(x, low, first);
#else
/* The lower byte of a weight. */
EP_INLINE int32_t ep_first(int16_t w) { return (int8_t)(w & 255); }
#endif

/* The sum of the second channel's products. Both sums began with the same number. */
EP_INLINE int32_t ep_second(uint32_t both, uint32_t first)
{
    return (int32_t)(both - first) >> 8;
}

/* Two pixels, whose numbers alternate by two: a[0] to a[3] are the first one's channels, a[4] to a[7] the other's. */
EP_INLINE void ep_dot_2x4(int n, const int16_t *x, const int16_t *w, int32_t a[8])
{
    int32_t first0 = a[0], first1 = a[2], first2 = a[4], first3 = a[6];
    int32_t second0 = a[1], second1 = a[3], second2 = a[5], second3 = a[7];
    do {
        const int16_t *const end = x + 2 * (n < EP_LONGEST ? n : EP_LONGEST);
#if EP_DSP
        int32_t both0 = first0, both1 = first1, both2 = first2, both3 = first3;
#if EP_MVE
        for (; x != end; x += 16, w += 16) {
            const int32x4x2_t numbers = ep_words(x), weights = ep_words(w);
            const int16x8_t p = vreinterpretq_s16_s32(numbers.val[0]), q = vreinterpretq_s16_s32(numbers.val[1]);
            const int16x8_t low0 = ep_first8(weights.val[0]), low1 = ep_first8(weights.val[1]);
            EP_PRODUCTS8(first0, both0, p, weights.val[0], low0)
            EP_PRODUCTS8(first2, both2, q, weights.val[0], low0)
            EP_PRODUCTS8(first1, both1, p, weights.val[1], low1)
            EP_PRODUCTS8(first3, both3, q, weights.val[1], low1)
        }
#else
#define EP_STEP(i) \
    { \
        const uint32_t p = ep_load4(x + i), q = ep_load4(x + i + 2), u = ep_load4(w + i), v = ep_load4(w + i + 2); \
        const uint32_t low_u = ep_even(u), low_v = ep_even(v); \
        EP_PRODUCTS(first0, both0, p, u, low_u) \
        EP_PRODUCTS(first2, both2, q, u, low_u) \
        EP_PRODUCTS(first1, both1, p, v, low_v) \
        EP_PRODUCTS(first3, both3, q, v, low_v) \
    }
        for (; x != end; x += 16, w += 16) { EP_STEP(0) EP_STEP(4) EP_STEP(8) EP_STEP(12) }
#undef EP_STEP
#endif
#else
        uint32_t both0 = (uint32_t)first0, both1 = (uint32_t)first1, both2 = (uint32_t)first2, both3 = (uint32_t)first3;
        for (; x != end; x += 4, w += 4)
            for (int j = 0; j < 2; j++) {
                const int32_t u = w[j], v = w[j + 2], low_u = ep_first(w[j]), low_v = ep_first(w[j + 2]);
                first0 += x[j] * low_u;
                first1 += x[j] * low_v;
                first2 += x[j + 2] * low_u;
                first3 += x[j + 2] * low_v;
                both0 += (uint32_t)(x[j] * u);
                both1 += (uint32_t)(x[j] * v);
                both2 += (uint32_t)(x[j + 2] * u);
                both3 += (uint32_t)(x[j + 2] * v);
            }
#endif
        second0 += ep_second((uint32_t)both0, (uint32_t)first0);
        second1 += ep_second((uint32_t)both1, (uint32_t)first1);
        second2 += ep_second((uint32_t)both2, (uint32_t)first2);
        second3 += ep_second((uint32_t)both3, (uint32_t)first3);
        n -= EP_LONGEST;
    } while (n > 0);
    a[0] = first0;
    a[1] = second0;
    a[2] = first1;
    a[3] = second1;
    a[4] = first2;
    a[5] = second2;
    a[6] = first3;
    a[7] = second3;
}

/* One pixel as it is stored. */
EP_INLINE void ep_dot_1x4(int n, const int8_t *x, const int16_t *w, int32_t a[4])
{
    int32_t first0 = a[0], first1 = a[2], second0 = a[1], second1 = a[3];
    for (; n > 0; n -= EP_LONGEST) {
        const int8_t *const end = x + (n < EP_LONGEST ? n : EP_LONGEST);
#if EP_DSP
        int32_t both0 = first0, both1 = first1;
#if EP_MVE
        for (; x != end; x += 8, w += 16) {
            const int32x4x2_t weights = ep_words(w);
            const int16x8_t p = ep_numbers8(x);
            EP_PRODUCTS8(first0, both0, p, weights.val[0], ep_first8(weights.val[0]))
            EP_PRODUCTS8(first1, both1, p, weights.val[1], ep_first8(weights.val[1]))
        }
#else
#define EP_STEP(i) \
    { \
        const uint32_t numbers = ep_load4(x + i), p = ep_even(numbers), q = ep_odd(numbers); \
        uint32_t v = ep_load4(w + 2 * i); \
        EP_PRODUCTS(first0, both0, p, v, ep_even(v)) \
        v = ep_load4(w + 2 * i + 2); \
        EP_PRODUCTS(first1, both1, p, v, ep_even(v)) \
        v = ep_load4(w + 2 * i + 4); \
        EP_PRODUCTS(first0, both0, q, v, ep_even(v)) \
        v = ep_load4(w + 2 * i + 6); \
        EP_PRODUCTS(first1, both1, q, v, ep_even(v)) \
    }
        for (; x != end; x += 8, w += 16) { EP_STEP(0) EP_STEP(4) }
#undef EP_STEP
#endif
#else
        uint32_t both0 = (uint32_t)first0, both1 = (uint32_t)first1;
        for (; x != end; x += 4, w += 8)
            for (int j = 0; j < 4; j++) {
                const int32_t number = x[(j & 1) * 2 + j / 2];
                const int16_t *const at = w + (j & 2) * 2 + (j & 1);
                first0 += number * ep_first(at[0]);
                first1 += number * ep_first(at[2]);
                both0 += (uint32_t)(number * at[0]);
                both1 += (uint32_t)(number * at[2]);
            }
#endif
        second0 += ep_second((uint32_t)both0, (uint32_t)first0);
        second1 += ep_second((uint32_t)both1, (uint32_t)first1);
    }
    a[0] = first0;
    a[1] = second0;
    a[2] = first1;
    a[3] = second1;
}
