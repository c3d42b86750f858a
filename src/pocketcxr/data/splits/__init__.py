"""Splits by patient, study and near duplicates: assigned, reused from another table, checked for leakage."""
