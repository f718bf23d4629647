/* MEAN over the middle one of three axes. The division is part of the multiplier. */
typedef struct {
    int outer, middle, inner;
    int in_zero_point, zero_point;
    int32_t multiplier;
    int right;
} ep_mean_layer;

/* Order: an output is written when its inputs are read; the first of these lies where the output may, or behind. */
EP_KERNEL void ep_mean(const ep_mean_layer *l, const int8_t *in, int8_t *out)
{
    const int middle = l->middle, inner = l->inner;
    for (int b = 0; b < l->outer; b++, in += middle * inner, out += inner)
        for (int k = 0; k < inner; k++) {
            int32_t a = -l->in_zero_point * middle;
            for (int i = 0; i < middle; i++) a += in[i * inner + k];
            out[k] = ep_clamp(ep_scale(a, l->multiplier, l->right) + l->zero_point, -128, 127);
        }
}
