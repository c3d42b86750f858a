"""De-identification of DICOM radiographs: header by the basic profile, text in the picture, a command over folders."""
