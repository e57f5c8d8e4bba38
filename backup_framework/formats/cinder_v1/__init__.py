"""Format 1.0.0: what Cinder's chunked drivers store, written so that Cinder restores it.

Objects of a backup: `<prefix>-NNNNN`, one for each stored extent; `<prefix>_sha256file`, the hash
list of the whole volume; `<prefix>_metadata`, the manifest. See doc/source/formats/cinder-v1.rst.
"""
