/* Made by edgepress: real values as the model stores them. */
#ifndef MODEL_VALUES_H
#define MODEL_VALUES_H
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif
/* Normalize MODEL_INPUT_BYTES values, such as readings of sensors, by the mean and standard deviation of their channel,
   quantize them, and write them to `stored`: model_input(), or memory of your own. The last axis is the fastest. */
void model_input_from_float(const float *values, @TYPE@ *stored);
#ifdef __cplusplus
}
#endif
#endif
