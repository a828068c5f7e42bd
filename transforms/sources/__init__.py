"""Imagery sources: each one searches scenes and reads their pixels on an exact geobox."""
