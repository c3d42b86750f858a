"""Auxiliary outputs: what a network learns beside its task, from findings and boxes, by heads that are not kept."""
