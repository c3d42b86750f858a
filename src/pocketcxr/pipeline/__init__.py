"""Whole runs, made of the stages: `distill`, its single stages, `crossval`, `demo`."""
