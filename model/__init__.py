"""CloudLULC-Net: tensors in, tensors out. No Beam and no network access on this floor."""
