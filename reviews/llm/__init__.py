"""Language models as reviewers: what is sent to them, what of their answers is believed, and what they cost."""
