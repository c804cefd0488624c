"""Reading and writing CT volumes and masks: DICOM, NIfTI, NRRD."""
