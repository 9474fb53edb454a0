"""How far the average of a long epoch is off, since its sums are float32.

    python examples/long_epochs.py

does with NumPy what `Mean` does at each step, for a loss that stays the same:
`total += loss * size` and `count += size`, both in float32.
"""

import numpy as np

LOSS = 0.7
SIZE = 32
STEPS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)


def averages(loss, size, steps):
    """The average after each of so many steps."""
    size = np.full(steps, size, "float32")
    # One after the other, as a running sum is.
    total = np.cumsum(np.float32(loss) * size, dtype="float32")
    return total / np.cumsum(size, dtype="float32")


def main():
    found = averages(LOSS, SIZE, max(STEPS))
    print(f"A loss of {LOSS}, in batches of {SIZE}:")
    for steps in STEPS:
        average = found[steps - 1]
        off = abs(average / LOSS - 1)
        print(f"{steps:10,} steps: {average:.5f}, off by {off:.0e} of it")
    # The first whole number whose successor float32 doesn't have.
    count = np.float32(1)
    while count + np.float32(1) > count:
        count *= np.float32(2)
    print(f"A count of single samples stops at {int(count):,}.")


if __name__ == "__main__":
    main()
