/* Frames from one answer of the model to the next. */
#define MODEL_SOUND_ROWS @ROWS@
