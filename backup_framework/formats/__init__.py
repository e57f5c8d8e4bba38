"""What the stored bytes mean: one module a version, and the codecs.

The manifest of every format is `<prefix>_metadata`, JSON with a `version`, which picks the module.
"""
