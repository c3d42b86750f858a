"""DICOM, PNG and JPEG to one grey-scale image in [0, 1]: the single specification of the input path."""
