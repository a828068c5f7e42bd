"""A local web map of products: tiles, pixels and areas served to one browser on this machine."""
