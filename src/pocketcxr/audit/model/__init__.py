"""Probes of a model through its `predict` callable alone, one probe per file."""
