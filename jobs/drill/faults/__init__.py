"""The faults, by what they hit. See docs/reliability.md for the catalogue."""
