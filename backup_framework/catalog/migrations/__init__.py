"""What brings a catalog of an older release to the present schema."""
