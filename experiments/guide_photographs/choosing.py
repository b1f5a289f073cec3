"""Which weight of a term is shown: by what validation photographs and boxes say."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from experiments.guide_photographs.measuring import Measured
from experiments.running import arms, results

Rule = Literal["composites", "accuracy"]
Found = Mapping[str, results.Repeats[Measured]]
MARGIN = 0.03


class Choice(NamedTuple):
    """One term with one kind of boxes, and the arm that stands for it.

    Attributes:
      name: 'term' or 'term@random'.
      arm: that was chosen.
      tried: all of its arms, by weight.
      score: of the chosen arm.
      fell_back: whether no arm kept the accuracy that the rule asks for.
    """

    name: str
    arm: str
    tried: tuple[str, ...]
    score: float
    fell_back: bool = False


def name_of(arm: arms.Arm) -> str:
    """What an arm is one weight of.

    Args:
      arm: as it was read.

    Returns:
      'term', 'term@random', or the arm's text where nothing guides it.
    """
    if arm.weight is None:
        return arm.text
    return arm.term if arm.annotation == "boxes" else f"{arm.term}@{arm.annotation}"


def choose(found: Found, rule: Rule, *, unguided: str) -> list[Choice]:
    """One arm for each term and kind of boxes, by validation photographs alone.

    'composites': the highest accuracy on validation objects before backgrounds of other
    classes. 'accuracy': of the arms whose validation accuracy is within .03 of the
    unguided one, the highest energy of Grad-CAM in the region; if there is none, the
    smallest weight. Of equal ones the smaller weight. Where a background gives every
    label away, accuracy says nothing of where a network looks.

    Args:
      found: results of all arms.
      rule: which.
      unguided: the arm without a term.

    Returns:
      A `Choice` each.
    """
    tried: dict[str, list[str]] = {}
    for text, repeats in found.items():
        tried.setdefault(name_of(repeats[0].arm), []).append(text)
    chosen = []
    for name, texts in tried.items():
        texts.sort(key=lambda text: found[text][0].arm.weight or 0.0)
        if rule == "composites" or unguided not in found:
            best = max(texts, key=_mean(found, lambda m: m.validation_swapped))
            score = _mean(found, lambda m: m.validation_swapped)(best)
            chosen.append(Choice(name, best, tuple(texts), score))
            continue
        accuracy = _mean(found, lambda m: m.validation)
        kept = [t for t in texts if accuracy(t) >= accuracy(unguided) - MARGIN]
        energy = _mean(found, lambda m: m.validation_energy.mean_or_zero)
        best = max(kept, key=energy) if kept else texts[0]
        chosen.append(Choice(name, best, tuple(texts), energy(best), not kept))
    return chosen


def _mean(found: Found, get: Callable[[Measured], float]) -> Callable[[str], float]:
    """Over seeds; −inf where no seed has the number, so that it is never chosen."""

    def of(text: str) -> float:
        return results.defined_mean(results.values(found[text], get))

    return of


def only(found: Found, chosen: list[Choice]) -> Found:
    """The results of the chosen arms, by the names that they stand for.

    Args:
      found: results of all arms.
      chosen: of `choose`.

    Returns:
      {name: a result each seed}.
    """
    return {choice.name: found[choice.arm] for choice in chosen}


def is_control(name: str) -> bool:
    """Whether a name is that of random boxes.

    Args:
      name: of a `Choice`.

    Returns:
      True for those.
    """
    return name.endswith("@random")


def control_of(found: Found, name: str) -> str | None:
    """The control of a name.

    Args:
      found: results by name.
      name: of a `Choice`.

    Returns:
      Its random boxes; None where there are none.
    """
    control = f"{name}@random"
    return control if control in found else None
