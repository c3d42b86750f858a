"""The distillation loss: its parts, one function per published method, and how they are chosen and weighted."""
