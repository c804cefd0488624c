"""The U-Net, the HDF5 files that hold its weights, and the engines that run it."""
