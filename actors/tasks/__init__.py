"""One computation in a process of its own, or many."""
