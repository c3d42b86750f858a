"""A worker beside an archive: finds radiographs without a result, scores them, stores results as DICOM objects."""
