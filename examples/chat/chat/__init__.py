"""Chat rooms by a duplicate registry: whoever is registered in a room hears what is said there."""
