"""Training: cases from folders and from people's corrections, patches, the loop over epochs, new versions."""
