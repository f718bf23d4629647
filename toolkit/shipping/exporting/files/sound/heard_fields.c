    int32_t rows; /* of the next call of the model */
