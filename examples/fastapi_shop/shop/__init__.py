"""A shop: FastAPI in front of a supervision tree that lives on the loop of the web server."""
