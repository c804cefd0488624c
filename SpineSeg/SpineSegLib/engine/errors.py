"""Errors for people: each message is one sentence that says what is wrong and what to do."""


class SpineSegError(Exception):
    """Base of every error shown to the user as one sentence; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(SpineSegError):
    """The volume, mask or data set can't be used as it is."""

    exit_code = 3


class SeveralSeriesError(InputError):
    """A folder holds `count` CT series, and which one is meant isn't known. The message lists them with their UIDs."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


class ModelError(SpineSegError):
    """The model file is missing, corrupt, foreign or newer than this version."""

    exit_code = 4


class OutputError(SpineSegError):
    """A result can't be written: no permission, disk full, unknown ending."""

    exit_code = 5


class ExistsError(OutputError):
    """The file that was to be made is there already."""


class ComputeError(SpineSegError):
    """The network can't be run: no memory, no such device, no backend installed."""

    exit_code = 6
