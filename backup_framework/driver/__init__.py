"""What a plugin author inherits. The promises themselves are in `backup_framework.interface`."""
