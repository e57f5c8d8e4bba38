"""For plugin authors and for our own tests: stores as data, and the conformance kit.

`memory` is a store in a dict, `faults` and `recording` wrap a driver, `conformance` is the kit
(it alone needs pytest: install `backup-framework[testing]`).
"""
