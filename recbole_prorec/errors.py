"""The one exception for what a user can mend: a setting, a file, a field."""


class InputError(ValueError):
    """Says what was expected, what came, and what to do. The console commands print it without a traceback."""


def check_text(value, what):
    """Refuse text that no file can hold: json may name half of a character (a lone surrogate). Values that are no text pass."""
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{what} is {value!r:.80}, which holds half of a character (a surrogate). Mend it.")
