"""Probes of the data alone: leaks, confounding, shortcut features. No model is needed."""
