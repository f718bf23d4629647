/* Made by edgepress: samples of sound as the model takes them. */
#ifndef MODEL_SOUND_H
#define MODEL_SOUND_H
#include "model.h"

/* Samples a second, 16 bits each, one channel. */
#define MODEL_SOUND_RATE @RATE@
/* Samples of a step: each gives one frame, once the first window is full. */
#define MODEL_SOUND_STEP @STEP@
#define MODEL_SOUND_WINDOW @WINDOW@
/* Numbers of a frame: a row of the model's input. */
#define MODEL_SOUND_CHANNELS @CHANNELS@
@MACROS@
typedef struct {
    int16_t real, imaginary;
} model_sound_complex;

typedef struct {
    int16_t samples[MODEL_SOUND_WINDOW + MODEL_SOUND_STEP];
    int32_t used;
    uint32_t noise[MODEL_SOUND_CHANNELS]; /* the estimate, which is the memory of the front end */
@FIELDS@    model_sound_complex work[@FFT_SIZE@ + 1]; /* keeps nothing */
} model_sound;

#ifdef __cplusplus
extern "C" {
#endif
/* Forget all sound; call it first. */
void model_sound_reset(model_sound *sound);
/* Take the next MODEL_SOUND_STEP samples. Returns 1 with the next frame, MODEL_SOUND_CHANNELS numbers, or 0 while the
   first window is not full. */
int model_sound_frame(model_sound *sound, const int16_t *samples, uint16_t *frame);
/* A frame as a row of the model's input stores it. */
void model_sound_store(const uint16_t *frame, @TYPE@ *row);
@DECLARATIONS@#ifdef __cplusplus
}
#endif
#endif
