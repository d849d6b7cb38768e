"""`kv-dict` on the command line."""
