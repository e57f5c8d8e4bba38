"""What Cinder fixed: the two driver interfaces, abstract methods and docstrings, no code.

What a plugin author inherits, and what keeps these promises, is in `backup_framework.driver`.
"""
