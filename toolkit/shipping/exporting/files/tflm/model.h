/* Made by edgepress: @FILE@ for firmware with TensorFlow Lite for Microcontrollers (TFLM). */
#ifndef MODEL_H
#define MODEL_H
#include <cstdint>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

/* The file, in flash. */
#define MODEL_BYTES @BYTES@
extern const unsigned char model_bytes[MODEL_BYTES];

/* @USED@ bytes were used on a 64-bit computer; the rest is margin. */
#define MODEL_ARENA_BYTES @ARENA@

#define MODEL_INPUT_NUMBERS @INPUT_NUMBERS@
#define MODEL_OUTPUT_NUMBERS @OUTPUT_NUMBERS@
typedef @INPUT_TYPE@ model_input_type;
typedef @OUTPUT_TYPE@ model_output_type;
@LABELS@
/* The operations of the file, and no others. */
using ModelResolver = tflite::MicroMutableOpResolver<@COUNT@>;

inline TfLiteStatus model_add_operations(ModelResolver &resolver) {
@OPERATIONS@
    return kTfLiteOk;
}
#endif
