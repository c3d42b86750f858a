"""From a trained student to a bundle: ONNX, parity, golden vectors."""
