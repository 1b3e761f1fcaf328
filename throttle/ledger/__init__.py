"""Who holds a lock, who waits for it, who is next: decided here, without threads, clock or log."""
