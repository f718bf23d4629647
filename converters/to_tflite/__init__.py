"""The float TFLite file, the quantized ones derived from it, and passes over their flatbuffers."""
