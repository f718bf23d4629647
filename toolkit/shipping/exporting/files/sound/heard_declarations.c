/* Take the next MODEL_SOUND_STEP samples. Returns 1 if the model ran, which it does every MODEL_SOUND_ROWS frames: its answer is in
   model_output(), valid until the next call. The first @CALLS_BEFORE_ANSWERS@ answers mean nothing. */
int model_hear(model_sound *sound, const int16_t *samples);
