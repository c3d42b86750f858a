"""Can it be trusted? What the field's critics ask of data and model, measured, explained in words and gated."""
