"""The model bundle: one ONNX file with its manifest inside, the interface between training and deployment."""
