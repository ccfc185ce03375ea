"""A bundle is opened only as it was written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain import families
from raytrain.deploy.contents import Bundle, BundleRefused

Copied = Callable[..., Path]


def test_a_bundle_says_who_it_is(world: Any) -> None:
    bundle = Bundle.open(world.made("har"))
    assert (bundle.form, bundle.engine, bundle.parts, bundle.members) == ("fit", "native", ("pooled",), ())
    assert bundle.spec == world.fitted("har")
    assert bundle.about["trained_on"]["last_date"] < bundle.about["known_until"] == "2020-05-14T00:00:00"
    assert bundle.about["versions"]["scipy"]


def test_where_the_table_lay_stays_at_home(copied: Copied) -> None:
    config = json.loads((copied() / "config.json").read_text())
    assert not {"path", "query", "bigquery"} & set(config["data"])


@pytest.mark.parametrize(
    "file", ["model/params.json", "preparation.json", "schema.json", "config.json", "card.md", "bundle.json"]
)
def test_one_changed_byte_is_noticed(copied: Copied, file: str) -> None:
    path = copied() / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleRefused, match=f"{file} was changed in .*; copy it again"):
        Bundle.open(path.parents[len(Path(file).parts) - 1])


def test_a_missing_an_added_and_a_linked_file_are_noticed(copied: Copied) -> None:
    folder = copied()
    (folder / "model" / "more.py").write_text("")
    with pytest.raises(BundleRefused, match=r"model/more\.py was added"):
        Bundle.open(folder)
    (folder / "model" / "more.py").unlink()
    (folder / "model" / "params.json").rename(folder / "elsewhere")
    with pytest.raises(BundleRefused, match="elsewhere was added"):
        Bundle.open(folder)
    (folder / "elsewhere").unlink()
    with pytest.raises(BundleRefused, match=r"model/params\.json is missing"):
        Bundle.open(folder)
    (folder / "model" / "params.json").symlink_to("/etc/hostname")
    with pytest.raises(BundleRefused, match="files and folders only"):
        Bundle.open(folder)


def test_changed_checksums_do_not_match_either(copied: Copied) -> None:
    folder = copied()
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("a", "b"))
    with pytest.raises(BundleRefused, match="was changed"):
        Bundle.open(folder)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match="must be a folder with SHA256SUMS"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleRefused, match="must be a folder with SHA256SUMS"):
        Bundle.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("raytrain", "0.0.1", r"written by raytrain 0\.0\.1"),
        ("family_version", 99, "version 99"),
        ("format", 99, "a bundle of format 99"),
    ],
)
def test_another_version_is_refused(
    copied: Copied, resealed: Callable[[Path], None], key: str, value: object, said: str
) -> None:
    folder = copied()
    about = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(about | {key: value}))
    resealed(folder)
    with pytest.raises(BundleRefused, match=said):
        Bundle.open(folder)


def test_a_member_of_another_version_is_refused(
    copied: Copied, resealed: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied("ensemble", among=["har", "drift"], ensemble={"members": ["har", "drift"]})
    monkeypatch.setattr(families.get("drift"), "version", 99)
    with pytest.raises(BundleRefused, match="drift version 1"):
        Bundle.open(folder)


def test_other_libraries_are_refused_where_they_would_compute(copied: Copied, resealed: Callable[[Path], None]) -> None:
    folder = copied()
    about = json.loads((folder / "bundle.json").read_text())
    about["spec"]["packages"] = [["scipy", "0.1"]]
    (folder / "bundle.json").write_text(json.dumps(about))
    resealed(folder)
    with pytest.raises(BundleRefused, match=r"scipy 0\.1.*pip install scipy==0\.1"):
        Bundle.open(folder).require_packages()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', "\x00"])
def test_nonsense_is_refused(copied: Copied, resealed: Callable[[Path], None], content: str) -> None:
    folder = copied()
    (folder / "bundle.json").write_text(content)
    resealed(folder)
    with pytest.raises(BundleRefused, match="must hold a bundle, but cannot be read"):
        Bundle.open(folder)


@pytest.mark.parametrize("key", ["parts", "members"])
def test_names_that_lead_elsewhere_are_refused(copied: Copied, resealed: Callable[[Path], None], key: str) -> None:
    folder = copied()
    about = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(about | {key: ["../../elsewhere"]}))
    resealed(folder)
    with pytest.raises(BundleRefused, match="named without a path"):
        Bundle.open(folder)


def test_the_digest_names_the_bundle(copied: Copied, resealed: Callable[[Path], None]) -> None:
    folder = copied()
    before = Bundle.open(folder).digest
    (folder / "card.md").write_text("better than ever")
    resealed(folder)
    assert Bundle.open(folder).digest != before
