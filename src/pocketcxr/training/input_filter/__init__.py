"""The learned input filter: batches of known image types, and the fit."""
