
/* What a frame holds of the magnitude of a channel, whose estimate of noise is brought up to date. */
static uint16_t scaled(uint32_t signal, uint32_t *noise, int channel)
{
    const uint32_t share = channel & 1 ? @ODD@u : @EVEN@u, raised = signal << SMOOTHING_BITS;
    uint32_t estimate = (uint32_t)(((uint64_t)raised * share + (uint64_t)noise[channel] * (16384u - share)) >> 14);
    noise[channel] = estimate;
    const uint32_t most = estimate < raised ? estimate : raised;
    const uint32_t rest = (raised - most) >> SMOOTHING_BITS;
    const uint32_t kept = (uint32_t)(((uint64_t)signal * @MIN_SIGNAL@u) >> 14);
    uint32_t value = rest > kept ? rest : kept;
@SCALING@    return (uint16_t)(value < 0xffffu ? value : 0xffffu);
}
