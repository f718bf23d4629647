/* Made by edgepress: frames of a camera as the input of the model. docs/microcontrollers.md of edgepress says more. */
#ifndef MODEL_FRAME_H
#define MODEL_FRAME_H
#include <stdint.h>

/* Pixels of a side of a frame at most, and how many times as long as the model's side it may be. */
#define MODEL_FRAME_MAX_SIDE @MAX_SIDE@
#define MODEL_FRAME_MAX_RATIO @MAX_RATIO@

#ifdef __cplusplus
extern "C" {
#endif
/* Each fits a frame to the model's @WIDTH@ x @HEIGHT@ x @CHANNELS@ (@RULE@) and writes it to model_input(). Rows follow each other
   without a gap, the upper left pixel first. They return 0, or -1 where a side is outside the limits above: then the
   input stays as it was. The frame may not lie in the model's arena. */
@DECLARATIONS@
#ifdef __cplusplus
}
#endif
#endif
