"""Predictions as tables, JSON, CSV, Parquet and HTML, on a stream or in a file; progress."""
