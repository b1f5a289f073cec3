"""Files that come in a package from an index, found without importing it."""

import hashlib
import importlib.metadata
import pathlib


def packaged_file(
    package: str, pattern: str, *, sha256: str, install: str
) -> pathlib.Path:
    """A file of an installed package, if it is the one that is known.

    Args:
      package: its name in the index.
      pattern: of the file, as `pathlib.PurePath.match`; one file matches.
      sha256: of the file, in hexadecimal.
      install: what to do where the package is missing.

    Returns:
      The path.

    Raises:
      ImportError: if the package is not installed, or has no such file.
      ValueError: if the file is another.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"{package} is not installed: {install}.") from error
    matching = [file for file in files if file.match(pattern)]
    if len(matching) != 1:
        raise ImportError(f"{package} has {len(matching)} files {pattern}: {install}.")
    path = pathlib.Path(str(matching[0].locate()))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} has SHA-256 {found}, not {sha256}.")
    return path
