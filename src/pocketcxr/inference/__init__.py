"""Prediction with a bundle, without a training framework: predictor, batches, heatmaps, writers, `doctor`."""
