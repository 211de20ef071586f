"""The entries of a table that were used last."""


class Recent:
    """A table of no more than `size` entries; the least recently used one goes.

    A copy, of an object that has one, is empty.
    """

    def __init__(self, size):
        self._size = size
        self._entries = {}  # the last used come last

    def __reduce__(self):
        return Recent, (self._size,)

    def get(self, key, default=None):
        """The value of a key."""
        if key in self._entries:
            self.keep(key, self._entries[key])
        return self._entries.get(key, default)

    def keep(self, key, value):
        """Sets the value of a key."""
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > self._size:
            del self._entries[next(iter(self._entries))]
