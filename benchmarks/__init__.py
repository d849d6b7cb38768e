"""Measurements of kv_dict beside what people use today: ``python -m benchmarks.core``."""
