"""The key-value server of Elixir's getting-started guide: named buckets of pairs, used over TCP."""
