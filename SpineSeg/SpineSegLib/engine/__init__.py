"""Volumes, network, segmenter, metrics, training and phantom: plain Python, without Slicer and without Qt."""
