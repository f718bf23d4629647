
#if MODEL_LISTEN_THRESHOLD_PERMILLE <= 500 || MODEL_LISTEN_AVERAGE < 1
#error "Two labels could be heard at once, or none."
#endif
/* Whether a label is an event. */
static const uint8_t is_event[MODEL_OUTPUT_BYTES] = {@IS_EVENT@};

int model_listen(model_sound *sound, const int16_t *samples)
{
    enum {
        CALL = MODEL_SOUND_ROWS * MODEL_SOUND_STEP, /* samples */
        /* Calls of a pause, rounded up: a day is more samples than 32 bits hold. */
        PAUSE = (int)(((int64_t)MODEL_LISTEN_PAUSE_MS * MODEL_SOUND_RATE + (int64_t)1000 * CALL - 1) / ((int64_t)1000 * CALL)),
        LEAST = MODEL_LISTEN_THRESHOLD_PERMILLE * 256 * MODEL_LISTEN_AVERAGE
    };
    if (!model_hear(sound, samples)) return -1;
    if (sound->silent) {
        sound->silent--;
        return -1;
    }
    const @OUTPUT_TYPE@ *const answers = model_output();
    uint8_t *const scores = sound->scores[sound->next];
    sound->next = (sound->next + 1) % MODEL_LISTEN_AVERAGE;
    sound->counted += sound->counted < MODEL_LISTEN_AVERAGE;
    int event = -1;
    for (int label = 0; label < MODEL_OUTPUT_BYTES; label++) {
        const uint8_t score = (uint8_t)(answers[label] - MODEL_OUTPUT_ZERO_POINT);
        sound->sums[label] += score - scores[label];
        scores[label] = score;
        sound->waits[label] -= sound->waits[label] > 0;
        if (1000 * sound->sums[label] < LEAST) {
            sound->above[label] = 0;
        } else if (is_event[label] && !sound->above[label] && !sound->waits[label] &&
                   sound->counted == MODEL_LISTEN_AVERAGE) {
            sound->above[label] = 1;
            sound->waits[label] = PAUSE;
            event = label;
        }
    }
    return event;
}
