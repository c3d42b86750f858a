"""The probes of the model audit, one per file: ``measure`` takes the figures, ``describe`` makes a section of them."""
