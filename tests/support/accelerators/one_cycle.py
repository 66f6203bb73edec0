"""The machine of `autoprune.hardware.accelerators.templates.queues`, one cycle at a time, with real queues."""

PIPELINE = 6


class ProcessingElement:
    def __init__(self, slots):
        self.waiting, self.left, self.slots = [], 0, slots

    @property
    def full(self):
        return len(self.waiting) == self.slots - 1

    @property
    def idle(self):
        return not self.left and not self.waiting

    def work(self):
        """One cycle, on what was in the queue when it began."""
        if not self.left and self.waiting:
            self.left = self.waiting.pop(0)
        self.left = max(0, self.left - 1)


def cycles(active, service, slots):
    """Cycles until every result is written.

    Args:
        active: Booleans, one a column.
        service: Cycles of each processing element for each column; as many as activations in a row of the search.
        slots: Slots of a ring that is full when one is left.
    """
    lanes = len(service[0])
    elements = [ProcessingElement(slots) for _ in range(lanes)]
    columns = range(len(active))
    rows = [[c for c in columns[start : start + lanes] if active[c]] for start in columns[::lanes]]
    row = now = 0
    while row < len(rows) or not all(each.idle for each in elements):
        now += 1
        full = any(each.full for each in elements)
        for each in elements:
            each.work()
        if row == len(rows):
            continue
        if not rows[row]:
            row += 1
        elif not full:
            column = rows[row].pop(0)
            for each, needed in zip(elements, service[column], strict=True):
                each.waiting.append(int(needed))
            row += column % lanes == lanes - 1
    return now + 1 + PIPELINE
