"""A crawler that asks each host only as often, and as much at once, as the lock of that host lets it."""
