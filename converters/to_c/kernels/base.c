/* Rounding of TensorFlow Lite for Microcontrollers' reference kernels. */
typedef char ep_int_has_32_bits[sizeof(int) == 4 ? 1 : -1];
typedef char ep_right_shift_keeps_the_sign[(-3 >> 1) == -2 && ((int64_t)-3 >> 1) == -2 ? 1 : -1];

#if defined(__GNUC__)
#define EP_INLINE static inline __attribute__((always_inline, unused))
#define EP_SHARED static __attribute__((noinline))
#define EP_ALIGNED __attribute__((aligned(4)))
#else
#define EP_INLINE static inline
#define EP_SHARED static
#define EP_ALIGNED
#endif
#if EP_SPECIALIZE
#define EP_KERNEL EP_INLINE
#else
#define EP_KERNEL EP_SHARED
#endif
/* Signed products of 16 bits, two at once: Cortex-M4, M7, M33, M55 and larger ones, in little-endian order. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN) && !defined(EP_NO_DSP)
#include <arm_acle.h>
#define EP_DSP 1
/* Loads are not moved across it: a compiler that moves too many ahead has no registers for them. */
#define EP_IN_ORDER __asm__ volatile("" ::: "memory");
#else
#define EP_DSP 0
#endif
/* Vectors of 16 bytes (Helium): Cortex-M55, M85 and M52, if the compiler may use their registers (-mfloat-abi=hard). */
#if EP_DSP && defined(__ARM_FEATURE_MVE) && !defined(EP_NO_MVE)
#include <arm_mve.h>
#define EP_MVE 1
#else
#define EP_MVE 0
#endif

/* x * m / 2^31, halves rounded up: gemmlowp's SaturatingRoundingDoublingHighMul, which saturates only for
   x = m = -2^31. */
EP_INLINE int32_t ep_high(int32_t x, int32_t m)
{
    return (int32_t)(((int64_t)x * m + ((int64_t)1 << 30)) >> 31);
}

/* The same for |x| < 2^30, in one instruction where there is SMMULR: (2x * m + 2^31) / 2^32. */
EP_INLINE int32_t ep_high_small(int32_t x, int32_t m)
{
#if EP_DSP
    int32_t r;
    __asm__("smmulr %0, %1, %2" : "=r"(r) : "r"(x * 2), "r"(m));
    return r;
#else
    return ep_high(x, m);
#endif
}

/* v / 2^e, halves rounded away from zero, 0 <= e <= 31: gemmlowp's RoundingDivideByPOT. */
EP_INLINE int32_t ep_divide(int32_t v, int e)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << e) - 1u);
    return (v >> e) + ((v & mask) > (mask >> 1) + (v < 0));
}

/* x * m / 2^(31 + right), rounded twice: MultiplyByQuantizedMultiplier. A shift to the left does not overflow: the
   generator refuses layers where it could. */
EP_INLINE int32_t ep_scale(int32_t x, int32_t m, int right)
{
    return right < 0 ? ep_high(x * ((int32_t)1 << -right), m) : ep_divide(ep_high(x, m), right);
}

/* EP_ALL_FULL: all activations of the model leave the whole range of 8 bits. */
EP_INLINE int8_t ep_clamp(int32_t v, int low, int high)
{
#if EP_DSP && EP_ALL_FULL
    (void)low;
    (void)high;
    return (int8_t)__ssat(v, 8);
#else
    return (int8_t)(v < low ? low : v > high ? high : v);
#endif
}

/* How accumulators become outputs: one multiplier and shift for each channel. */
typedef struct {
    const int32_t *multiplier;
    const int8_t *right; /* one less than the shift if `small` */
    int zero_point;      /* twice that plus one if `small` */
    int low, high;
    int small; /* intervals prove that |acc| < 2^30 and 1 <= shift <= 31 */
} ep_scaling;

/* Small: (v + 2^(n - 1)) / 2^n is (v / 2^(n - 1) + 1) / 2, all rounded down, and 1 less for v < 0 rounds halves away
   from zero. */
EP_INLINE int8_t ep_scaled_small(const ep_scaling *s, int channel, int32_t acc)
{
    const int32_t v = ep_high_small(acc, s->multiplier[channel]);
    const int32_t doubled = ((v + (v >> 31)) >> s->right[channel]) + s->zero_point;
#if EP_DSP && EP_ALL_FULL
    int32_t r;
    __asm__("ssat %0, #8, %1, asr #1" : "=r"(r) : "r"(doubled));
    return (int8_t)r;
#else
    return ep_clamp(doubled >> 1, s->low, s->high);
#endif
}

EP_INLINE int8_t ep_scaled(const ep_scaling *s, int channel, int32_t acc)
{
    if (EP_ALL_SMALL || s->small) return ep_scaled_small(s, channel, acc);
    return ep_clamp(ep_scale(acc, s->multiplier[channel], s->right[channel]) + s->zero_point, s->low, s->high);
}

#if EP_MVE
/* Bytes as vectors, by assembly that names the memory it touches. gcc 14.2 describes its intrinsics for vldrb and vstrb of wider
   numbers, gathered or not, as accesses of the first byte alone, and moves stores of the other bytes past them. */
EP_INLINE int32x4_t ep_load_bytes4(const int8_t *p)
{
    int32x4_t v;
    __asm__("vldrb.s32 %q0, [%1]" : "=w"(v) : "l"(p), "m"(*(const int8_t(*)[4])(const void *)p));
    return v;
}
EP_INLINE void ep_store_bytes4(int8_t *p, int32x4_t v)
{
    __asm__("vstrb.32 %q1, [%2]" : "=m"(*(int8_t(*)[4])(void *)p) : "w"(v), "l"(p));
}
EP_INLINE int16x8_t ep_gather_bytes8(const int8_t *p, uint16x8_t order)
{
    int16x8_t v;
    __asm__("vldrb.s16 %q0, [%1, %q2]" : "=&w"(v) : "r"(p), "w"(order), "m"(*(const int8_t(*)[8])(const void *)p));
    return v;
}

/* ep_divide for |v| < 2^30, where `ties` is -1, or for right = 0, where it is 0. */
EP_INLINE int32x4_t ep_divide4(int32x4_t v, int32x4_t ties, int32x4_t left)
{
    return vrshlq_s32(vaddq_s32(v, vandq_s32(vshrq_n_s32(v, 31), ties)), left);
}
#endif

/* Accumulators of four channels become outputs. */
EP_INLINE void ep_scale4(const ep_scaling *s, int channel, int32_t a[4])
{
    if (EP_ALL_SMALL || s->small) {
#if EP_MVE
        const int32x4_t v = vqrdmulhq_s32(vldrwq_s32(a), vldrwq_s32(s->multiplier + channel));
        const int32x4_t left = vmvnq_s32(ep_load_bytes4(s->right + channel)); /* -1 - right: minus the shift */
        const int32x4_t r = vaddq_n_s32(ep_divide4(v, vdupq_n_s32(-1), left), s->zero_point >> 1);
        vstrwq_s32(a, vminq_s32(vmaxq_s32(r, vdupq_n_s32(s->low)), vdupq_n_s32(s->high)));
#else
        /* written out, so that a compiler keeps `a` in registers */
        a[0] = ep_scaled_small(s, channel, a[0]);
        a[1] = ep_scaled_small(s, channel + 1, a[1]);
        a[2] = ep_scaled_small(s, channel + 2, a[2]);
        a[3] = ep_scaled_small(s, channel + 3, a[3]);
#endif
    } else {
        for (int k = 0; k < 4; k++) a[k] = ep_scaled(s, channel + k, a[k]);
    }
}

/* The first `count` outputs of four, or all four. */
EP_INLINE void ep_write4(int8_t *out, int count, const int32_t a[4])
{
#if EP_MVE
    if (count >= 4) {
        ep_store_bytes4(out, vldrwq_s32(a));
        return;
    }
#endif
    out[0] = (int8_t)a[0];
    if (count >= 4) {
        out[1] = (int8_t)a[1];
        out[2] = (int8_t)a[2];
        out[3] = (int8_t)a[3];
    } else {
        if (count > 1) out[1] = (int8_t)a[1];
        if (count > 2) out[2] = (int8_t)a[2];
    }
}

EP_INLINE uint32_t ep_load4(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

EP_INLINE void ep_store4(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

#if EP_DSP
/* Bytes 0 and 2, or 1 and 3, as two signed numbers of 16 bits. */
EP_INLINE uint32_t ep_even(uint32_t v) { uint32_t r; __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(v)); return r; }
EP_INLINE uint32_t ep_odd(uint32_t v) { uint32_t r; __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(v)); return r; }
/* The lower, or the upper, halves of two words. */
EP_INLINE uint32_t ep_lower(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(a), "r"(b));
    return r;
}
EP_INLINE uint32_t ep_upper(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(r) : "r"(b), "r"(a));
    return r;
}
#endif

/* Geometry of an operation that moves a window over an image. */
typedef struct {
    int height, width, channels;
    int out_height, out_width, out_channels;
    int kernel_height, kernel_width;
    int stride_y, stride_x;
    int pad_y, pad_x;
    int dilation_y, dilation_x;
} ep_geometry;
