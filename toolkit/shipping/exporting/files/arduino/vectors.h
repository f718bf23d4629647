// Items as the model takes them, and the answers that it must give.
#include <model.h>

#define ITEMS @ITEMS@
static const @INPUT_TYPE@ inputs[ITEMS][MODEL_INPUT_BYTES] = {
@INPUTS@
};
static const @OUTPUT_TYPE@ outputs[ITEMS][MODEL_OUTPUT_BYTES] = {
@OUTPUTS@
};
