"""What the list of experiments says of one."""

from typing import NamedTuple, Protocol


class Entry(Protocol):
    """A `loop.Experiment`, or a `Listed`."""

    @property
    def name(self) -> str:
        """Of its folder."""

    @property
    def question(self) -> str:
        """That it answers, one sentence."""

    @property
    def cost(self) -> str:
        """Of its default, in words."""


class Listed(NamedTuple):
    """A command that trains no arms and so is no `loop.Experiment`."""

    name: str
    question: str
    cost: str
