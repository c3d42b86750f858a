"""Sentences for the checklists, each with the file that it was read from."""
