"""What the pilot of region guidance chose: a weight and a warm-up for each term.

Each term and its control, the same term guided by random boxes, had the same choices
(experiments/results/region_guidance.md). energy_cam is `losses.leaky_energy`;
`_published` is `losses.energy`, whose maps may stay blank; `_raw` explains the logit as
it is too, as published.
"""

from typing import NamedTuple


class Chosen(NamedTuple):
    """What the pilot chose for a term."""

    weight: float
    warmup: float


CHOSEN = {
    "energy_cam": Chosen(45.0, 0.1),
    "energy_cam@random": Chosen(15.0, 0.1),
    "energy_cam_published": Chosen(5.0, 0.1),
    "energy_cam_published@random": Chosen(5.0, 0.1),
    "energy_cam_raw": Chosen(2.0, 0.1),
    "l1_cam": Chosen(15.0, 0.1),
    "l1_cam@random": Chosen(5.0, 0.0),
    "ppce_cam": Chosen(0.01, 0.1),
    "ppce_cam@random": Chosen(0.01, 0.1),
    "rrr_star_cam": Chosen(3.0, 0.1),
    "rrr_star_cam@random": Chosen(1.0, 0.0),
    "energy_input": Chosen(1.0, 0.1),
    "energy_input@random": Chosen(1.0, 0.0),
    "l1_input": Chosen(15.0, 0.1),
    "l1_input@random": Chosen(15.0, 0.1),
    "ppce_input": Chosen(0.003, 0.3),
    "ppce_input@random": Chosen(0.1, 0.1),
    "rrr_star_input": Chosen(0.1, 0.1),
    "rrr_star_input@random": Chosen(0.1, 0.0),
    "right_reasons": Chosen(10.0, 0.3),
    "right_reasons@random": Chosen(0.3, 0.1),
    "region_contrast": Chosen(3.0, 0.1),
    "region_contrast@random": Chosen(1.0, 0.3),
    "region_consistency": Chosen(150.0, 0.3),
    "region_consistency@random": Chosen(5.0, 0.1),
    "swapped": Chosen(30.0, 0.1),
    "swapped@random": Chosen(10.0, 0.1),
}


def chosen_for(term: str, annotation: str) -> Chosen:
    """What was chosen for a term with an annotation.

    Args:
      term: its name.
      annotation: 'random' for the control, where there is one.

    Returns:
      Weight and warm-up.
    """
    return CHOSEN.get(f"{term}@{annotation}", CHOSEN[term])
