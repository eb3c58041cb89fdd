"""Runs the whole system on one machine: embedded servers, supervised processes, one log."""
