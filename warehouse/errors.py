"""The errors a user can cause, each one sentence that says what to do."""

import difflib
from collections.abc import Sequence


class GristmillError(Exception):
    """An error whose message is meant for the user: the command line prints it without a traceback."""


class SettingError(GristmillError):
    """A setting is unknown or has a value that cannot work."""


class StoreError(GristmillError):
    """The store cannot be read or written."""


class MissingArtifact(GristmillError):
    """Something asked for has not been made yet."""


class CorruptPart(GristmillError):
    """A part's bytes are not the ones that its record names."""


class ConservationError(GristmillError):
    """A stage lost or invented documents: in != kept + removed + failed."""


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that is most like another, for sentences about unknown ones."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
