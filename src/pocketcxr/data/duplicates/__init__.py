"""Near-duplicate search: perceptual hashes, alignment, groups."""
