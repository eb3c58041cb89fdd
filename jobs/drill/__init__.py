"""An operator's own proof: a system beside the installed one, a load, faults, and a judge that counts."""
