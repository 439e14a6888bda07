"""A stranger's text to what a terminal shows: no character of it can steer the screen."""


def printable(text: str) -> str:
    """Return a text with everything that prints nothing, or more than itself, escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
