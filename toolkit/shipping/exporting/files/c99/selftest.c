/* Runs the model on items whose answers are known. On a board without printf, define MODEL_NO_MAIN and call
   model_selftest(): it returns the number of items with another answer, 0 if all is well. */
#include "model.h"
#include <string.h>

#define ITEMS @ITEMS@
static const @INPUT_TYPE@ inputs[ITEMS][MODEL_INPUT_BYTES] = {
@INPUTS@
};
static const @OUTPUT_TYPE@ outputs[ITEMS][MODEL_OUTPUT_BYTES] = {
@OUTPUTS@
};

int model_selftest(void);

int model_selftest(void)
{
    int wrong = 0;
@RESET@    for (int i = 0; i < ITEMS; i++) {
@RESET_EACH@        memcpy(model_input(), inputs[i], MODEL_INPUT_BYTES);
        model_run();
        wrong += memcmp(model_output(), outputs[i], MODEL_OUTPUT_BYTES) != 0;
    }
    return wrong;
}

#ifndef MODEL_NO_MAIN
#include <stdio.h>

int main(void)
{
    const int wrong = model_selftest();
    printf("%d of %d items have the expected answer\n", ITEMS - wrong, ITEMS);
    return wrong != 0;
}
#endif
