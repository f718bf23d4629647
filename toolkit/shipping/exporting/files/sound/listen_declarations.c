/* The same; returns the number of the label that is heard now, or -1. */
int model_listen(model_sound *sound, const int16_t *samples);
