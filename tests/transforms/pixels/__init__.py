"""A package, so that test modules may have the names of those of other rooms."""
