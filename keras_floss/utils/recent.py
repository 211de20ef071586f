"""The entries of a table that were used last."""

import collections


class Recent:
    """A table of no more than `size` entries; the least recently used one goes.

    A copy, of an object that has one, is empty.
    """

    def __init__(self, size):
        self._size = size
        self._entries = collections.OrderedDict()

    def __reduce__(self):
        return Recent, (self._size,)

    def get(self, key, default=None):
        """The value of a key."""
        if key not in self._entries:
            return default
        self._entries.move_to_end(key)
        return self._entries[key]

    def keep(self, key, value):
        """Sets the value of a key."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
