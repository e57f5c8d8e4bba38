"""Format 2.0.0, the framework's own: see doc/source/formats/v2.rst."""
