"""What every benchmark writes: `results/<machine>-<date>-<name>.md`."""

import datetime
from pathlib import Path

from raytrain.machine.detect import detect

RESULTS = Path(__file__).parent / "results"


def write(name: str, text: str, folder: Path = RESULTS, *, show: bool = True) -> None:
    """Print the text, unless it was shown line by line, and keep it."""
    if show:
        print(text)
    folder.mkdir(exist_ok=True)
    (folder / f"{detect().name}-{datetime.date.today()}-{name}.md").write_text(text)
