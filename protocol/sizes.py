"""Sizes in bytes as people write them. PURE, and light enough for the command line's fast path."""

UNITS = {"": 0, "B": 0, "K": 1, "KIB": 1, "M": 2, "MIB": 2, "G": 3, "GIB": 3, "T": 4, "TIB": 4}
"""Powers of 1024. MB and the like are missing on purpose: half of their writers mean something else."""
LARGEST = 2**63 - 1


def parse(text: str) -> int:
    """``"512MiB"``, ``"1.5G"``, ``"4096"`` in bytes.

    Raises:
        ValueError: it is no size, or not from 1 byte to 8 EiB.
    """
    number = text.strip().rstrip("BKMGTibkmgt ")
    power = UNITS.get(text.strip()[len(number) :].strip().upper())
    if power is None or not number.replace(".", "", 1).isdecimal() or not number.isascii():
        raise ValueError(f"{text!r} is no size: write 512MiB, 2GiB or 1G (powers of 1024), or a number of bytes")
    digits = number[:30]  # more of them are too many, for Python's numbers too
    size = int(float(digits) * 1024**power) if "." in digits else int(digits) * 1024**power
    if not 1 <= size <= LARGEST:
        raise ValueError(f"{text!r} must be from 1 byte to 8 EiB")
    return size


def shown(size: int) -> str:
    """The size in the largest unit that says it exactly: :func:`parse` reads it back."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        factor = 1024 ** UNITS[unit.upper()]
        if size % factor == 0 and size:
            return f"{size // factor}{unit}"
    return str(size)
