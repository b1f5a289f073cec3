"""Tensors out of a file, or a folder of weights as Hugging Face lays it out.

Only safetensors is read, which holds names, shapes and numbers. A `pytorch_model.bin`
is a pickle, which may run any code; it is never opened.
"""

import json
import pathlib

import numpy as np

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """All tensors of a folder, from one file or from the several of an index.

    Args:
      folder: with model.safetensors, or with model.safetensors.index.json and the files
        that it names.

    Returns:
      {name: array}, of the types that the file has.

    Raises:
      ImportError: if safetensors is not installed, saying how.
      FileNotFoundError: if there is no such file, or one that the index names is
        missing; it names what there is.
      ValueError: if a file is damaged, or does not hold what the index says.
    """
    if (folder / WHOLE).is_file():
        return read_file(folder / WHOLE)
    if not (folder / INDEX).is_file():
        there = sorted(path.name for path in folder.glob("*")) or "nothing"
        why = (
            "; a pytorch_model.bin is a pickle, which may run any code, and is not "
            "read: save the weights as safetensors"
            if any(path.suffix == ".bin" for path in folder.glob("*"))
            else ""
        )
        raise FileNotFoundError(
            f"{folder} has neither {WHOLE} nor {INDEX}; it has {there}{why}."
        )
    places: dict[str, str] = json.loads((folder / INDEX).read_bytes())["weight_map"]
    tensors: dict[str, np.ndarray] = {}
    for file in sorted(set(places.values())):
        # Names of the index are those of files beside it, and lead nowhere else.
        path = folder / pathlib.Path(file).name
        if not path.is_file():
            raise FileNotFoundError(f"{folder / INDEX} names {file}, which is missing.")
        found = read_file(path)
        promised = {name for name, place in places.items() if place == file}
        if promised != found.keys():
            raise ValueError(
                f"{path} holds {sorted(found.keys() - promised)} beside what {INDEX} "
                f"says, and lacks {sorted(promised - found.keys())}."
            )
        tensors |= found
    return tensors


def read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All tensors of one safetensors file.

    Args:
      path: of the file.

    Returns:
      {name: array}, of the types that the file has.

    Raises:
      ImportError: if safetensors is not installed, saying how.
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged.
    """
    # Here and not above: the library itself does without the extra that brings it.
    try:
        import safetensors
    except ImportError as error:
        raise ImportError(
            f"{path} needs safetensors: pip install 'xguide_jax[text]'."
        ) from error
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
