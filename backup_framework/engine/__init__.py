"""Volume bytes to objects and back. Knows no options and no catalog."""
