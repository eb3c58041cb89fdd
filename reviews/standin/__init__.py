"""A stand-in for GitHub: what tests and benchmarks post to in its place."""
