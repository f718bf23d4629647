/* Take the next MODEL_SOUND_STEP samples. Returns 1 if the model ran, which it does every @ROWS@ frames: its answer is in
   model_output(), valid until the next call. */
int model_hear(model_sound *sound, const int16_t *samples);
