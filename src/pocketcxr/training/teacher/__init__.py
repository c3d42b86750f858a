"""The teacher: its backbones, their fusion, and its cached outputs for augmented views."""
