"""octopi: 3D particle picking in cryo-electron tomograms."""
