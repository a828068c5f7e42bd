"""Grid, imagery sources, pixel arithmetic and the Beam transforms built on them."""
