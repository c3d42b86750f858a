"""HTTP service and static page for a bundle: no training framework, no file kept, no identifier logged."""
