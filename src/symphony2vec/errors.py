"""The one exception that people see: a single line that says what is wrong, where, and what to do."""


class UserError(Exception):
    """An error that the user can fix. The command line prints its message alone, without a traceback."""


class Unusable(Exception):  # noqa: N818 - a verdict on one file, not a failure of the program
    """One recording or score cannot be used. The message is its reason in `rejected.csv`; the run goes on."""
