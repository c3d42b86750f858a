"""Result objects: structured report, secondary capture and parametric map of one radiograph."""
