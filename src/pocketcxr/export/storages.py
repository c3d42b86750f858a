"""How weights may be stored, by name; apart from what does it, so that the command line needs no training framework."""

FLOAT, HALF, BYTES = "float32", "half", "8-bit"

STORAGES = (FLOAT, HALF, BYTES)
"""What `pocketcxr.export.weight_storage` knows; the last is tried where nothing is said."""
