"""The HTTP service: scores images with a bundle; needs no training framework, keeps no file, logs no identifier."""
