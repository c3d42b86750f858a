"""The model bundle: one ONNX file with its manifest inside, the wall between the workshop and the clinic."""
