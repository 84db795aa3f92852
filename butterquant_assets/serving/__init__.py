"""HTTP inference on promoted ONNX models: requests are checked, scored by one model version, and answered."""
