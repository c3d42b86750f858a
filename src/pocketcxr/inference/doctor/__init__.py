"""The command ``pocketcxr doctor``: examine a machine for what predictions need."""
