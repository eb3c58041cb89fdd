"""What the benchmark's processes do when they are told to."""
