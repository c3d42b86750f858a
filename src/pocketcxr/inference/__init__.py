"""Predict with a bundle: no training framework, no guessing, reasons in plain words."""
