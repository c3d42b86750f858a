"""Answers over the network with a bundle: no training framework, no file kept, no identifier logged."""
