"""DICOMweb (PS3.18): a client, and how an archive is reached."""
