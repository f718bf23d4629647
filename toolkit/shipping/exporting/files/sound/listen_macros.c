
/* A label is heard when its mean probability over the last answers reaches the threshold, in thousandths, more than half; and
   again when it was below it and the pause is over. */
#ifndef MODEL_LISTEN_THRESHOLD_PERMILLE
#define MODEL_LISTEN_THRESHOLD_PERMILLE @THRESHOLD@
#endif
#ifndef MODEL_LISTEN_AVERAGE
#define MODEL_LISTEN_AVERAGE @AVERAGE@
#endif
#ifndef MODEL_LISTEN_PAUSE_MS
#define MODEL_LISTEN_PAUSE_MS @PAUSE_MS@
#endif
