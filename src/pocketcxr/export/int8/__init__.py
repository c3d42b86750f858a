"""Search for an int8 file that keeps the float file's results."""
