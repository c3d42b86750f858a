"""Distil heavy chest X-ray networks into a small one, and measure how far that one can be trusted."""
