"""Audits of data and model: measures in sections, criteria with limits, conclusions, one record."""
