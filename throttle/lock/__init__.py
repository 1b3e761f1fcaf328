"""A lock that runs: its ledger behind a combiner, who waits and who works, and the process that answers."""
