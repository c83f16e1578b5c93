"""Measurements of the kernel's speed and size; ``python -m benchmarks.run`` makes the report."""
