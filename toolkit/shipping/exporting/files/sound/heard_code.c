
int model_hear(model_sound *sound, const int16_t *samples)
{
    uint16_t frame[CHANNELS];
    if (!model_sound_frame(sound, samples, frame)) return 0;
    model_sound_store(frame, model_input() + sound->rows * CHANNELS);
    sound->rows = (sound->rows + 1) % MODEL_SOUND_ROWS;
    if (sound->rows) return 0;
    model_run();
    return 1;
}
