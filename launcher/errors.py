"""Every error a user can cause or meet, with the exit code it ends in.

LauncherError
|-- ConfigError    2  a file, flag or value of the user's is wrong
|-- HostError      3  the machine lacks something: GPUs, memory, disk, permission
|-- EngineError    4  the container engine or the image failed us
|-- LogError       5  a log cannot be read or used
`-- ResponseError  6  a response package cannot be built or read

A message is one sentence with place, key, value and allowed values, then what to do. Only
`launcher.cli` catches these; library code raises and never prints or exits. Exit 0 means done and
valid, 1 done but findings say invalid, 130 interrupted.
"""


class LauncherError(Exception):
    """What went wrong and what to do about it, in one sentence."""

    exit_code = 1


class ConfigError(LauncherError):
    """A file, flag or value of the user's is wrong."""

    exit_code = 2


class HostError(LauncherError):
    """The machine lacks something the work needs."""

    exit_code = 3


class EngineError(LauncherError):
    """The container engine, or an image, does not do what was asked."""

    exit_code = 4


class LogError(LauncherError):
    """A log cannot be read or used."""

    exit_code = 5


class ResponseError(LauncherError):
    """A response package cannot be built or read."""

    exit_code = 6
