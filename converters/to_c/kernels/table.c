/* Operations whose output is a function of one number: QUANTIZE, LOGISTIC, and chains of ADD and MUL with constants. */
typedef struct {
    const int8_t *table;
    int count;
} ep_table_layer;

/* Order: one number after another. */
EP_KERNEL void ep_table(const ep_table_layer *l, const int8_t *in, int8_t *out)
{
    const int8_t *const table = l->table;
    for (const int8_t *const end = in + l->count; in != end; in++) *out++ = table[(uint8_t)*in];
}
