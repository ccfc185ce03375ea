"""From a source to the next snapshot: everything at first, then what is new and what was restated."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from pydantic import Field

from raytrain import __version__
from raytrain.config import Settings
from raytrain.data.atomic import whole_folder
from raytrain.data.bigquery import BigQuerySource
from raytrain.data.config import DataConfig
from raytrain.data.export_folder import FETCHED, ExportFolder
from raytrain.data.increment import RESTATEMENTS, Change, Increment
from raytrain.data.parts import Compression, Format, write_csv_part
from raytrain.data.snapshot import MANIFEST, RESTATED, Entry, Manifest, Snapshot, describe_part, file_hash
from raytrain.data.sources import Source
from raytrain.data.year_parts import YearParts
from raytrain.errors import DataError, did_you_mean


class ExportConfig(Settings):
    """What an export can be told."""

    out: Path = Path("snapshots")
    """Folder of the snapshots."""
    data: DataConfig = DataConfig()
    format: Format = "parquet"
    """Of the files; `csv.gz` for who must read them without Parquet."""
    compression: Compression = "zstd"
    """Of Parquet files."""
    overlap_days: int = Field(7, ge=0)
    """Days before the newest exported date that are fetched again, to catch restated values."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export did."""

    snapshot: Snapshot
    """The newest one, just written or not."""
    is_new: bool
    fetched: int
    """Rows that were read from the source."""
    added: int
    """Rows that are new."""
    restated: int
    """Values that differ from those exported before."""
    notes: tuple[str, ...]


def export(source: Source, config: ExportConfig, *, full: bool = False) -> Exported:
    """Write the next snapshot below `config.out`, if there is anything new.

    The first export, one with other columns than the last, and one with `full` fetch everything; any other one fetches
    what is younger than the newest exported date less the overlap. The caller holds the folder.

    Raises:
        DataError: the newest snapshot is damaged, a column was removed or has another type, a row has no date, two
            rows of one key differ. The snapshots are as they were.
    """
    folder = ExportFolder(config.out)
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.sweep()
    base = folder.newest()
    if base is not None:
        folder.point_latest(base.folder)
    ask = _Ask.make(source, config, base, full)
    with _beside(folder.root) as fetched:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        exported = _Export(source, config, folder, base, ask, fetched, now).run()
    folder.point_latest(exported.snapshot.folder)
    folder.job_note.unlink(missing_ok=True)
    return exported


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """A folder for what is fetched, gone at the end; one that a kill leaves is swept by the next export."""
    with TemporaryDirectory(dir=root, prefix=FETCHED, suffix=f".{os.getpid()}") as name:
        yield Path(name)


@dataclass(frozen=True)
class _Ask:
    """What is asked of the source."""

    columns: list[str]
    keys: list[str]
    """The date column, and the series column if there is one."""
    since: date | None
    """None for everything."""
    notes: tuple[str, ...] = ()

    @classmethod
    def make(cls, source: Source, config: ExportConfig, base: Snapshot | None, full: bool) -> "_Ask":
        available, data = source.columns(), config.data
        if data.date not in available:
            raise DataError(
                f"data.date must name a column of the source, got `{data.date}`; {did_you_mean(data.date, available)}"
            )
        wanted = data.wanted(available)
        keys = [data.date, *([data.series] if data.series in available else [])]
        if base is None:
            return cls(wanted, keys, None)
        known = base.manifest.columns
        if data.columns and set(wanted) != set(known):
            return cls(wanted, keys, None, ("data.columns changed: everything was fetched again",))
        _refuse_removed(known, available)
        new = sorted(set(available) - set(known)) if not data.columns else []
        notes = (f"new columns are left out until data.columns names them: {', '.join(new)}",) if new else ()
        newest = date.fromisoformat(base.manifest.files[-1].last_date[:10])
        return cls(list(known), keys, None if full else newest - timedelta(days=config.overlap_days), notes)


@dataclass(frozen=True)
class _Export:
    """One export under way."""

    source: Source
    config: ExportConfig
    folder: ExportFolder
    base: Snapshot | None
    ask: _Ask
    fetched: Path
    """Folder with a file for each year that the next snapshot does not take over from the last one."""
    exported_at: str

    def run(self) -> Exported:
        """Fetch, compare year by year, and write a snapshot if anything changed."""
        parts = self._fetch()
        if self.base is None and not parts.rows:
            raise DataError(f"a first export must find rows, got 0 from {self.source.place}; look at data.first_date")
        changes = [self._settle(year, path) for year, path in parts.paths.items()]
        dropped = self._dropped(set(parts.paths))
        restated = pl.concat([RESTATEMENTS.to_frame(), *(change.restated for change in changes)])
        is_new = bool(dropped) or any(self.fetched.iterdir())
        snapshot = self._write(dropped, restated) if is_new or self.base is None else self.base
        return Exported(
            snapshot=snapshot,
            is_new=is_new,
            fetched=parts.rows,
            added=sum(change.added for change in changes),
            restated=restated.height,
            notes=(*self._notes, *self._counts(parts.merged, sum(change.gone for change in changes), dropped)),
        )

    @property
    def _notes(self) -> tuple[str, ...]:
        return (*self.ask.notes, *(self.source.notes if isinstance(self.source, BigQuerySource) else ()))

    @property
    def _text(self) -> str:
        return self.source.describe(self.ask.columns, self.ask.since)

    @property
    def _stored(self) -> dict[int, Entry]:
        """Year -> its file in the last snapshot."""
        files = self.base.manifest.files if self.base is not None else ()
        return {int(entry.file.partition(".")[0]): entry for entry in files}

    def _fetch(self) -> YearParts:
        data = self.config.data
        with YearParts(self.fetched, self.ask.keys, self.config.compression, self.source.place) as parts:
            for batch in self.source.batches(self.ask.columns, self.ask.since):
                self._check_types(batch.schema)
                parts.add(_between(batch, data))
        return parts

    def _check_types(self, found: pl.Schema) -> None:
        day = self.config.data.date
        if found[day] != pl.Date and not isinstance(found[day], pl.Datetime):
            raise DataError(
                f"`{day}` must hold dates or times, got {found[day]} in {self.source.place}; convert it there"
            )
        known = self.base.manifest.columns if self.base is not None else {}
        for name, kind in found.items():
            if known.get(name, str(kind)) != str(kind):
                raise DataError(
                    f"column `{name}` must keep its type, got {kind} where the last snapshot has {known[name]}; "
                    "convert it at the source, or export into a new folder"
                )

    def _settle(self, year: int, path: Path) -> Change:
        """Leave at `path` the year as the next snapshot has it, or nothing if it stays as it is."""
        if year not in self._stored or self.base is None:
            return Change(added=pl.scan_parquet(path).select(pl.len()).collect().item())
        stored, fetched = self.base.part(self._stored[year]), pl.read_parquet(path)
        rows = Increment(
            keys=self.ask.keys, series=self.source.name, since=self.ask.since, exported_at=self.exported_at
        )
        fetched, whole = rows.newer(fetched, stored), self.ask.since is None
        change = rows.compare(stored, fetched)
        moved = bool(change.added or change.restated.height)
        if not moved and not (whole and (change.gone or set(stored.columns) != set(fetched.columns))):
            path.unlink()
        elif not whole:
            rows.update(stored, fetched).write_parquet(path, compression=self.config.compression)
        return change

    def _dropped(self, fetched: set[int]) -> set[int]:
        """Stored years of which a whole export found nothing."""
        return set(self._stored) - fetched if self.ask.since is None else set()

    def _write(self, dropped: set[int], restated: pl.DataFrame) -> Snapshot:
        target = self.folder.next()
        with whole_folder(target) as building:
            made = {int(path.stem): self._place(path, building) for path in sorted(self.fetched.iterdir())}
            kept = {year: entry for year, entry in self._stored.items() if year not in made and year not in dropped}
            for entry in kept.values():
                self._take_over(entry, building)
            files = made | kept
            manifest = Manifest(
                raytrain=__version__,
                exported_at=self.exported_at,
                source=self._text,
                name=self.source.name,
                files=tuple(files[year] for year in sorted(files)),
                restatements=self._list(restated, building),
            )
            (building / MANIFEST).write_text(manifest.signed())
        return Snapshot.open(target)

    def _place(self, path: Path, building: Path) -> Entry:
        """A fetched year as a file of the snapshot."""
        target = building / f"{path.stem}.{self.config.format}"
        if self.config.format == "parquet":
            shutil.move(path, target)
            return describe_part(target, pl.scan_parquet(target), self.ask.keys[0])
        write_csv_part(pl.read_parquet(path), target)
        return describe_part(target, pl.scan_parquet(path), self.ask.keys[0])

    def _take_over(self, entry: Entry, building: Path) -> None:
        """Copy a file of the last snapshot; not a link, because damage to one file must not be damage to both."""
        assert self.base is not None
        shutil.copyfile(self.base.folder / entry.file, building / entry.file)
        if file_hash(building / entry.file) != entry.sha256:
            raise DataError(f"{self.base.folder / entry.file} changed while it was copied; export again")

    def _list(self, restated: pl.DataFrame, building: Path) -> Entry | None:
        """Everything ever restated, as a file of the snapshot."""
        if self.base is not None and self.base.manifest.restatements is not None:
            restated = pl.concat([self.base.part(self.base.manifest.restatements), restated])
        if restated.is_empty():
            return None
        restated.write_parquet(building / RESTATED)
        return describe_part(building / RESTATED, restated.lazy(), "date")

    def _counts(self, merged: int, gone: int, dropped: set[int]) -> Iterator[str]:
        gone += sum(self._stored[year].rows for year in dropped)
        if merged:
            yield f"{merged} rows were there twice; one of each was kept"
        if gone:
            what = "left out" if self.ask.since is None else "kept"
            yield f"{gone} rows of the last snapshot are no longer at the source; they are {what}"


def _between(batch: pl.DataFrame, data: DataConfig) -> pl.DataFrame:
    """The rows of the days that the config asks for."""
    day = pl.col(data.date).dt.date()
    if data.first_date is not None:
        batch = batch.filter(day >= data.first_date)
    return batch if data.last_date is None else batch.filter(day <= data.last_date)


def _refuse_removed(known: Mapping[str, str], available: Sequence[str]) -> None:
    for name, kind in known.items():
        if name not in available:
            raise DataError(
                f"column `{name}` must stay, got a source without it where the last snapshot has it as {kind}; "
                "bring it back, or say in data.columns which columns are exported"
            )
