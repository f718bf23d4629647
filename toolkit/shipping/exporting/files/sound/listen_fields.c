    int32_t silent, next, counted; /* calls that mean nothing yet; place in `scores`; answers in them */
    uint8_t scores[MODEL_LISTEN_AVERAGE][MODEL_OUTPUT_BYTES];
    int32_t sums[MODEL_OUTPUT_BYTES], waits[MODEL_OUTPUT_BYTES];
    uint8_t above[MODEL_OUTPUT_BYTES];
