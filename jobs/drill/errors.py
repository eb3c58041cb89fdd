class DrillError(Exception):
    """The drill itself cannot go on; the message says why. It is no verdict on the system."""
