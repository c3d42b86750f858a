"""Bundles converted for other runtimes, each file checked against the golden vectors before it is written."""
