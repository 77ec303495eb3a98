"""Version, changelog and citation agree, and a release that does not is refused."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "runs"))

import release  # type: ignore[import-not-found]


def test_version_changelog_and_citation_agree() -> None:
    assert release.disagreements(tag=None) == []


@pytest.mark.parametrize("tag", ["", "v9.9.9"])
def test_another_tag_is_no_release(tag: str) -> None:
    assert f"the commit's tag is {tag or 'missing'}" in release.disagreements(tag=tag)[0]


def test_another_version_is_found_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "version", lambda: "9.9.9")
    assert len(release.disagreements(tag="v9.9.9")) >= 2
