"""Backs volumes up to any store: Cinder's driver interface as a framework of its own."""

__version__ = '0.1.0'
