"""Images in folders, one folder a class, with nothing drawn on them."""

import os

from xguide_jax.data.images.formats import gathering, locating, record


def read_class_folders(folder: str | os.PathLike[str]) -> record.AnnotatedImages:
    """Images whose class is the folder they lie in.

    The folders in `folder` are the classes, sorted; what is in folders within them
    belongs to them. Hidden folders and files, and files that are no images, are not
    read. An image that lies in no folder has no class, and is listed as a problem.

    Args:
      folder: of the folders.

    Returns:
      The images by name, without objects, and their problems.

    Raises:
      FileNotFoundError: if there is no such folder.
      ImportError: if pillow is not installed.
      ValueError: if there are no folders in it.
    """
    images = locating.folder_of(folder)
    class_names = sorted(
        locating.composed(path.name)
        for path in images.path.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    if not class_names:
        raise ValueError(f"`folder` (={str(folder)!r}) must hold a folder a class.")
    entries, wrong = [], []
    for name, paths in images.by_name.items():
        class_name, *rest = name.split("/")
        if not rest:
            wrong.append(record.Problem(name, "the file", "it lies in no class folder"))
            continue
        for path in paths:
            written = path.relative_to(images.path).as_posix()
            entries.append(
                gathering.Entry(
                    written, "the file", written, None, (), classes=(class_name,)
                )
            )
    return gathering.gather(
        entries,
        images,
        draw=lambda content, size: (None, None),
        class_names=class_names,
        problems=wrong,
    )
