"""A model and calibration data in, TFLite and ONNX files out; knows no data set and no command line."""
