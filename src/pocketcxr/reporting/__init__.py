"""Documents made from a run and its audit: model card, CLAIM and TRIPOD+AI checklists."""
