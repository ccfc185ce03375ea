"""The export: `python -m raytrain.jobs.export --config configs/export_bigquery.yaml --out DIR [--full]`.

The first one fetches everything, every later one what is new and what was restated. Read the result with
`--data.kind snapshot --data.path DIR` in every job.
"""

import argparse

from raytrain.data.export import ExportConfig, export
from raytrain.data.export_folder import ExportFolder
from raytrain.data.sources import open_source
from raytrain.jobs import _command
from raytrain.work.lock import hold


def export_job(config: ExportConfig, options: argparse.Namespace) -> int:
    """Fetch, compare, write a snapshot, tell."""
    source = open_source(config.data, ExportFolder(config.out).job_note)
    with hold(config.out, "export"):
        done = export(source, config, full=options.full)
    manifest = done.snapshot.manifest
    rows = sum(entry.rows for entry in manifest.files)
    span = f"{manifest.files[0].first_date[:10]} to {manifest.files[-1].last_date[:10]}"
    if done.is_new:
        print(f"{done.fetched} rows fetched: {done.added} new, {done.restated} values restated")
    else:
        print(f"{done.fetched} rows fetched: no new data")
    for note in done.notes:
        print(f"note: {note}")
    print(f"snapshot {done.snapshot.folder}: {rows} rows, {span}, {len(manifest.files)} files")
    print(f"read it with: --data.kind snapshot --data.path {config.out}")
    return _command.OK


if __name__ == "__main__":
    _command.main(ExportConfig, export_job, __doc__ or "", ["full"])
