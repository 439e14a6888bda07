"""`python -m launcher` is the same program as the `launcher` console script."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an old Python gets a sentence, no traceback
    sys.exit("error: the launcher needs Python 3.11 or later, not " + sys.version.split()[0] + ".")

try:
    from launcher.cli import main
except ModuleNotFoundError as error:  # a bare Python: the code of HostError, without its module
    sys.stderr.write(
        f"error: {sys.executable} has no {error.name}; say make setup, then "
        ". .venv/bin/activate, and start this again.\n"
    )
    sys.exit(3)

if __name__ == "__main__":
    main()
