"""Report kit shared by evaluation and audit: types, tables, charts, number formats, page templates."""
