"""Reads DICOM files: header, stored values of every transfer syntax, grey scale."""
