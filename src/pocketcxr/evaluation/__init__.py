"""Honest figures through a predict callable: metrics, intervals, calibration, comparisons, costs, report."""
