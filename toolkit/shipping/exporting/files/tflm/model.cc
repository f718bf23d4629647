/* Made by edgepress: the bytes of @FILE@. */
#include "model.h"

alignas(16) const unsigned char model_bytes[MODEL_BYTES] = {
@CONTENT@
};
@LABELS@
