/* Dot products of n numbers, n a multiple of 4. */
#if EP_DSP
#define EP_MAC4(acc, x0, x1, w0, w1) acc = __smlad(x1, w1, __smlad(x0, w0, acc))
#endif

/* Two pixels, two channels, whose weights alternate by four numbers: a[0], a[1] are those of x0, a[2], a[3] of x1. */
EP_INLINE void ep_dot_2x2(int n, const int8_t *x0, const int8_t *x1, const int8_t *w, int32_t a[4])
{
    int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
#if EP_DSP
    const int8_t *const end = x0 + n;
#define EP_STEP \
    { \
        const uint32_t u = ep_load4(w), v = ep_load4(w + 4); \
        const uint32_t u0 = ep_even(u), u1 = ep_odd(u), v0 = ep_even(v), v1 = ep_odd(v); \
        uint32_t x = ep_load4(x0), p0 = ep_even(x), p1 = ep_odd(x); \
        EP_MAC4(a0, p0, p1, u0, u1); \
        EP_MAC4(a1, p0, p1, v0, v1); \
        x = ep_load4(x1); \
        p0 = ep_even(x); \
        p1 = ep_odd(x); \
        EP_MAC4(a2, p0, p1, u0, u1); \
        EP_MAC4(a3, p0, p1, v0, v1); \
        w += 8; \
        x0 += 4; \
        x1 += 4; \
    }
    if (n & 4) EP_STEP
    while (x0 != end) { EP_STEP EP_STEP }
#undef EP_STEP
#else
    for (int i = 0; i < n; i += 4, w += 8)
        for (int j = 0; j < 4; j++) {
            a0 += x0[i + j] * w[j];
            a1 += x0[i + j] * w[4 + j];
            a2 += x1[i + j] * w[j];
            a3 += x1[i + j] * w[4 + j];
        }
#endif
    a[0] = a0;
    a[1] = a1;
    a[2] = a2;
    a[3] = a3;
}

/* One pixel, four channels, whose weights alternate by four numbers. */
EP_INLINE void ep_dot_1x4(int n, const int8_t *x, const int8_t *w, int32_t a[4])
{
    int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
#if EP_DSP
    for (const int8_t *const end = x + n; x != end; x += 4, w += 16) {
        const uint32_t p = ep_load4(x), p0 = ep_even(p), p1 = ep_odd(p);
        uint32_t v = ep_load4(w);
        EP_MAC4(a0, p0, p1, ep_even(v), ep_odd(v));
        v = ep_load4(w + 4);
        EP_MAC4(a1, p0, p1, ep_even(v), ep_odd(v));
        v = ep_load4(w + 8);
        EP_MAC4(a2, p0, p1, ep_even(v), ep_odd(v));
        v = ep_load4(w + 12);
        EP_MAC4(a3, p0, p1, ep_even(v), ep_odd(v));
    }
#else
    for (int i = 0; i < n; i += 4, w += 16)
        for (int j = 0; j < 4; j++) {
            a0 += x[i + j] * w[j];
            a1 += x[i + j] * w[4 + j];
            a2 += x[i + j] * w[8 + j];
            a3 += x[i + j] * w[12 + j];
        }
#endif
    a[0] = a0;
    a[1] = a1;
    a[2] = a2;
    a[3] = a3;
}

/* One pixel, one channel. */
EP_INLINE int32_t ep_dot_1x1(int n, const int8_t *x, const int8_t *w, int32_t a)
{
#if EP_DSP
    for (int i = 0; i < n; i += 4) {
        const uint32_t p = ep_load4(x + i), u = ep_load4(w + i);
        EP_MAC4(a, ep_even(p), ep_odd(p), ep_even(u), ep_odd(u));
    }
#else
    for (int i = 0; i < n; i++) a += x[i] * w[i];
#endif
    return a;
}
