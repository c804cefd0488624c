"""MRML nodes <-> engine: needs slicer and vtk (slicer-core is enough), never Qt."""
