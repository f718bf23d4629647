// Runs the model on items whose answers are known, and prints how many were right and how long one took.
#include <string.h>

#include <model.h>

#include "vectors.h"

void setup() {
  Serial.begin(115200);
  while (!Serial && millis() < 5000) {
  }
}

void loop() {
  int right = 0;
  unsigned long longest_us = 0;
@RESET@  for (int i = 0; i < ITEMS; i++) {
@RESET_EACH@    memcpy(model_input(), inputs[i], MODEL_INPUT_BYTES);
    const unsigned long begin_us = micros();
    model_run();
    const unsigned long run_us = micros() - begin_us;
    longest_us = run_us > longest_us ? run_us : longest_us;
    right += memcmp(model_output(), outputs[i], MODEL_OUTPUT_BYTES) == 0;
  }
  Serial.print(right);
  Serial.print(" of ");
  Serial.print(ITEMS);
  Serial.print(" items have the expected answer; one takes up to ");
  Serial.print(longest_us);
  Serial.println(" us");
  delay(5000);
}
