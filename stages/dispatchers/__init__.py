"""Dispatchers: who of a producer's consumers gets which events, decided without threads, clock or log."""
