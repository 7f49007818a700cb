"""The one exception for what a user can mend: a setting, a file, a field."""


class InputError(ValueError):
    """Says what was expected, what came, and what to do. The console commands print it without a traceback."""
