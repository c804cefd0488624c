"""SpineSeg: segment the spine in CT, compare, correct and re-train, on the user's own computer."""

__version__ = "0.1.0"
