
/* The natural logarithm of a number from 2, times 2^@SCALE_SHIFT@. */
static uint32_t log_of(uint32_t value)
{
    const int whole = bits_of(value) - 1;
    int32_t part = (int32_t)(value - ((uint32_t)1 << whole));
    part = whole < 16 ? part << (16 - whole) : part >> (whole - 16);
    const int segment = part >> 9;
    const int32_t start = log_two[segment], end = log_two[segment + 1];
    const uint32_t two = ((uint32_t)whole << 16) + (uint32_t)(part + start + (((end - start) * (part - 512 * segment)) >> 16));
    const uint32_t natural = (uint32_t)(((uint64_t)45426 * two + 32768) >> 16);
    return ((natural << @SCALE_SHIFT@) + 32768) >> 16;
}
