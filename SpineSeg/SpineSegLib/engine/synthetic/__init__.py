"""Made-up CT with known truth: procedural anatomy, real label maps, tissue values and a model of the scanner."""
