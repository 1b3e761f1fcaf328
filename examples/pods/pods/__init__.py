"""One lock and one set of keys for four OS processes, whichever of them is killed in whatever it is doing."""
