"""The drivers that need no extra package: local directories and NFS shares."""
