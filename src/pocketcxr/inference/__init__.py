"""Predict with a bundle, or with another ONNX classifier: no training framework needed."""
