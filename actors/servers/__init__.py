"""GenServer and what carries it: the engine, one file for each way of being run, and what is built on it."""
