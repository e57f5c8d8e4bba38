"""The REST interface: Cinder's backup calls, their microversions, and a page to look at."""
