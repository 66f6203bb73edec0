"""Eight bits: ranges from calibration data, and ONNX files whose layers compute with integers."""
