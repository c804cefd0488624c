"""The Qt panel of the Slicer module, one file per section."""
