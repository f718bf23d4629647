
/* A label is heard when its mean probability over the last answers reaches the threshold, more than 50 percent; and
   again when it was below it and the pause is over. */
#ifndef MODEL_LISTEN_THRESHOLD_PERCENT
#define MODEL_LISTEN_THRESHOLD_PERCENT @THRESHOLD@
#endif
#ifndef MODEL_LISTEN_AVERAGE
#define MODEL_LISTEN_AVERAGE @AVERAGE@
#endif
#ifndef MODEL_LISTEN_PAUSE_MS
#define MODEL_LISTEN_PAUSE_MS @PAUSE_MS@
#endif
