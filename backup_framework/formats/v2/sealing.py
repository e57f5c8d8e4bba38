"""Sealing: AES-256-GCM over what is stored, with keys that are made for each object."""
