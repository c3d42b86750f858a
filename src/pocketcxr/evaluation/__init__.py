"""Figures of a model through a predict callable: metrics, intervals, calibration, comparisons, costs."""
