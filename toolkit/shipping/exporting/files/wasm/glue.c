/* What the exported C needs of a C library, and memory for real values. -mbulk-memory makes one instruction of each builtin. */
#include "model.h"
#include <string.h>

void *memcpy(void *to, const void *from, size_t count) { return __builtin_memcpy(to, from, count); }
void *memmove(void *to, const void *from, size_t count) { return __builtin_memmove(to, from, count); }
void *memset(void *to, int value, size_t count) { return __builtin_memset(to, value, count); }

#ifdef VALUES
#include "model_values.h"

static float values[VALUES];
float *model_values(void);
void model_take_values(void);
float *model_values(void) { return values; }
void model_take_values(void) { model_input_from_float(values, model_input()); }
#endif
