"""One lock for four OS processes, whichever of them is killed, and in whatever it is doing."""
