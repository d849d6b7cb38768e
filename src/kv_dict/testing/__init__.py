"""For those who write or test a backend."""
