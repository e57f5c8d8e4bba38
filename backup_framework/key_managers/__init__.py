"""The key managers that come ready made. Each imports what it needs when it is first asked."""
