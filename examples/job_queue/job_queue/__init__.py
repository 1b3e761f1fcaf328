"""A job queue on SQLite in Oban's words: unique jobs, retries, and no job lost with who was at work on it.

Read `tree.yaml` beside this package first: it names every module here.
"""
