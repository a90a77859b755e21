"""Image data sets behind one interface: [-1, 1] batches, global batch size, resumable order."""
