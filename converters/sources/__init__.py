"""Source models of every kind (Keras, SavedModel, TFLite, ONNX), opened behind one interface, `base.SourceModel`.

These modules run in worker processes, because native code may crash on a damaged file. They return float models; a
source does not know schemes, quantization or calibration items.
"""
