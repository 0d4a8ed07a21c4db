"""Stage B: the diffusion bridge from text to summary tokens."""
