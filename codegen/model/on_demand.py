"""Arrays that are made each time they are asked for, so that one at a time is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ..contract.numerics import Array


class OnDemand(Mapping[str, Array]):
    """A mapping of `names` to what `make` returns for them. Nothing is kept: each look-up makes the array again."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Array]) -> None:
        self._names = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
