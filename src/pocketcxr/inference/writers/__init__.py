"""Predictions as tables, JSON, CSV and Parquet, on a stream or in a file that continues after a stop; progress."""
