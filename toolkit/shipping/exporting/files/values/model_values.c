/* Made by edgepress: real values as the model stores them. */
#include "model_values.h"

#define CHANNELS @CHANNELS@

static const float mean_of[CHANNELS] = {
@MEAN@
};
static const float std_of[CHANNELS] = {
@STD@
};

void model_input_from_float(const float *values, @TYPE@ *stored)
{
    for (int32_t i = 0, channel = 0; i < MODEL_INPUT_BYTES; i++) {
        float steps = (values[i] - mean_of[channel]) / std_of[channel];
        steps = steps / @SCALE@;
        /* NaN becomes the least value, too */
        steps = steps > -512.0f ? (steps < 512.0f ? steps : 512.0f) : -512.0f;
        int32_t whole = (int32_t)steps;
        const float rest = steps - (float)whole;
        /* the nearest, and of two as near the even one */
        if (rest > 0.5f || (rest == 0.5f && (whole & 1))) whole++;
        if (rest < -0.5f || (rest == -0.5f && (whole & 1))) whole--;
        whole += @ZERO_POINT@;
        stored[i] = (@TYPE@)(whole < @LEAST@ ? @LEAST@ : whole > @MOST@ ? @MOST@ : whole);
        channel = channel + 1 < CHANNELS ? channel + 1 : 0;
    }
}
