"""Synthetic chest X-rays and out-of-distribution images, drawn from a seed."""
