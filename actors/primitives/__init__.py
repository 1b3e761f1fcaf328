"""Single steps on what threads share, and locks that a fork leaves free: what everything else stands on."""
