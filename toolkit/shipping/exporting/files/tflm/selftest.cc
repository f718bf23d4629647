/* Runs the model on items whose answers are known. Call model_selftest() of firmware (-DMODEL_NO_MAIN): it returns the
   number of items with another answer, 0 if all is well, and -1 if TFLM does not open the model. */
#include <cmath>
#include <cstring>
#include <type_traits>

#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

/* By how much a number may differ: of integer outputs in steps; of float outputs as a share of the expected number, or of
   1 if that is smaller. TFLM of other versions, or with kernels of a processor's maker, may round the last bit in another
   way. */
#ifndef MODEL_TOLERANCE
#define MODEL_TOLERANCE @TOLERANCE@
#endif

#define ITEMS @ITEMS@
static const model_input_type inputs[ITEMS][MODEL_INPUT_NUMBERS] = {
@INPUTS@
};
static const model_output_type outputs[ITEMS][MODEL_OUTPUT_NUMBERS] = {
@OUTPUTS@
};
alignas(16) static uint8_t arena[MODEL_ARENA_BYTES];

int model_selftest(void) {
    ModelResolver resolver;
    if (model_add_operations(resolver) != kTfLiteOk) return -1;
    tflite::MicroInterpreter interpreter(tflite::GetModel(model_bytes), resolver, arena, sizeof(arena));
    if (interpreter.AllocateTensors() != kTfLiteOk) return -1;
    int wrong = 0;
    for (int i = 0; i < ITEMS; i++) {
        interpreter.Reset();
        std::memcpy(interpreter.input(0)->data.raw, inputs[i], sizeof(inputs[i]));
        bool right = interpreter.Invoke() == kTfLiteOk;
        const model_output_type *answers = reinterpret_cast<model_output_type *>(interpreter.output(0)->data.raw);
        for (int k = 0; right && k < MODEL_OUTPUT_NUMBERS; k++) {
            const double expected = static_cast<double>(outputs[i][k]);
            const bool real = std::is_floating_point<model_output_type>::value;
            const double most = MODEL_TOLERANCE * (real ? std::fmax(1.0, std::fabs(expected)) : 1.0);
            right = std::fabs(static_cast<double>(answers[k]) - expected) <= most;
        }
        wrong += !right;
    }
    return wrong;
}

#ifndef MODEL_NO_MAIN
#include <cstdio>

int main() {
    tflite::InitializeTarget();
    const int wrong = model_selftest();
    if (wrong < 0) {
        std::printf("TFLM does not open the model\n");
        return 2;
    }
    std::printf("%d of %d items have the expected answer\n", ITEMS - wrong, ITEMS);
    return wrong != 0;
}
#endif
