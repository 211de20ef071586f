"""The figures of the results: what each is made of, as `figures.json` declares it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from keras_floss.experiments.configuration import Configuration
from keras_floss.experiments.problems import TASKS, Task

DECLARED = pathlib.Path(__file__).parent / "figures.json"
# No default of the package was chosen by the seeds from here on.
FIRST_SEED = 100
# What an arm may say beside its knobs.
OF_ARM = ("arm", "seeds", "points")


@dataclasses.dataclass(frozen=True)
class Part:
    """One run of a figure.

    Attributes:
        arm: what the figure calls it.
        across: where it stands on the figure's axis, None where there is none.
        measure: what is measured, one of `measures.MEASURES`.
        knobs: of its `Configuration`, those that are not as usual, `seed` among them.
    """

    arm: str
    across: float | None
    measure: str
    knobs: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What tells a run from others, whatever figures call it."""
        return json.dumps([self.measure, dict(self.knobs)], sort_keys=True)

    def configuration(self) -> Configuration:
        """The whole of what is run."""
        return Configuration.of(**self.knobs)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure, or a small version of it.

    Attributes:
        name, title, source, about: words. The source is the paper's figure, or "ours".
        found: what its runs say, once they are all done.
        differs: what is not as in the paper; empty where a figure is ours.
        picture: which of `pictures.PICTURES` draws it.
        over: the axis: a knob, or `a / b` of two knobs; empty where there is none.
        parts: its runs.
        seconds: how long a run takes, about, before any was measured.
    """

    name: str
    title: str
    source: str
    about: str
    found: str
    differs: str
    picture: str
    over: str
    parts: Sequence[Part]
    seconds: float

    @property
    def task(self) -> Task:
        """The task of its runs, which is the same of all."""
        return TASKS[self.parts[0].knobs["task"]]

    @property
    def seeds(self) -> dict[str, int]:
        """How many seeds each arm has."""
        return {
            part.arm: len({p.knobs["seed"] for p in self.parts if p.arm == part.arm})
            for part in self.parts
        }


@cache
def declared() -> dict[str, dict[str, Any]]:
    """What the file says, by name of the figure."""
    return json.loads(DECLARED.read_text())


def figure(name: str, quick: bool = False) -> Figure:
    """The figure of a name; `quick`: with tiny networks, one seed and two points.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in declared():
        raise ValueError(
            f"`figures` must be among {', '.join(declared())}, or all. Received: {name!r}"
        )
    about = declared()[name]
    small = about["quick"] if quick else {}
    points = _points(about.get("points", [{}]))
    over = about.get("over", next(iter(points[0]), ""))
    if quick and over in small:
        points = _points({over: small[over]})
    parts = []
    for label, arm in about["arms"].items():
        own = {key: value for key, value in arm.items() if key not in OF_ARM}
        own |= Configuration.of_arm(arm["arm"])
        along = _points(arm["points"]) if "points" in arm else points
        if quick:
            along = along[:1] + along[1:][-1:]
        for point in along:
            for seed in range(1 if quick else arm.get("seeds", about["seeds"])):
                knobs = about["knobs"] | own | small | point | {"seed": FIRST_SEED + seed}
                across = _across(over, knobs) if over else None
                parts.append(Part(label, across, about["measure"], knobs))
    words = {key: about[key] for key in ("title", "source", "about", "picture", "seconds")}
    words |= {key: about.get(key, "") for key in ("found", "differs")}
    return Figure(name=name, over=over, parts=parts, **words)


def _points(
    points: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """`{knob: values}` as a list of knobs, which it may also be."""
    if isinstance(points, Mapping):
        ((knob, values),) = points.items()
        return [{knob: value} for value in values]
    return [dict(point) for point in points]


def _across(over: str, knobs: Mapping[str, Any]) -> float:
    """Where a run stands on the axis."""
    knob, _, by = over.partition(" / ")
    return round(knobs[knob] / knobs[by], 2) if by else knobs[knob]
