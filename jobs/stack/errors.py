class StackError(Exception):
    """The stack cannot start; the message says what to change."""
