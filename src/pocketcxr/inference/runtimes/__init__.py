"""Other runtimes than ONNX Runtime behind the same predictor: opening, checking, converted files."""
