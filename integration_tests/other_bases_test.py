"""How the table of the base releases is kept."""

import pytest

from integration_tests.support import other_bases

NEW = ("3.13.2", "jax", "ours", "8", "1", "0", "2", "`A::test_b`")
OLD = ("3.15.1", "torch", "upstream", "9", "0", "3", "0", "")
REPORT = """<testsuites><testsuite>
<testcase classname="m_test.A" name="test_a"/>
<testcase classname="m_test.A" name="test_b[x-1]"><failure/></testcase>
<testcase classname="m_test" name="test_c"><error>No.</error></testcase>
<testcase classname="m_test" name="test_d"><skipped/></testcase>
</testsuite></testsuites>
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    path = tmp_path / "table.md"
    monkeypatch.setattr(other_bases, "TABLE", path)
    return path


def test_rows_that_are_not_measured_stay(table):
    assert other_bases.read_rows() == {}
    other_bases.write_rows({NEW[:3]: NEW, OLD[:3]: OLD})
    assert other_bases.read_rows() == {NEW[:3]: NEW, OLD[:3]: OLD}
    # The default base first, then in the order of the file.
    assert list(other_bases.read_rows()) == [OLD[:3], NEW[:3]]
    newer = (*NEW[:3], "9", "0", "0", "2", "")
    other_bases.write_rows({**other_bases.read_rows(), NEW[:3]: newer})
    assert other_bases.read_rows() == {NEW[:3]: newer, OLD[:3]: OLD}


def test_releases_that_are_bases_no_more_go(table):
    gone = ("3.0.0", *NEW[1:])
    other_bases.write_rows({gone[:3]: gone, NEW[:3]: NEW})
    assert other_bases.read_rows() == {NEW[:3]: NEW}


def test_failed_tests(tmp_path):
    report = tmp_path / "report.xml"
    assert other_bases.failed_tests(report) == []
    report.write_text(REPORT)
    expected = ["m_test.A::test_b[x-1]", "m_test::test_c"]
    assert other_bases.failed_tests(report) == expected


def test_which_base_needs_what(table):
    other_bases.write_rows({})
    rows = table.read_text().splitlines()
    losses = "`keras/src/losses/losses.py`"
    assert (
        f"| {losses} | releases | `CosineSimilarity._get_saved_config`, "
        "`Huber.get_config`, `SparseCategoricalCrossentropy.get_config`, "
        "`config_with` |"
    ) in rows
    assert f"| {losses} | each | `LossFunctionWrapper.call` |" in rows


def test_the_table_says_what_is_needed_today(tmp_path, monkeypatch):
    written = other_bases.TABLE.read_text(encoding="utf-8")
    rows = other_bases.read_rows()
    monkeypatch.setattr(other_bases, "TABLE", tmp_path / "table.md")
    other_bases.write_rows(rows)
    assert other_bases.TABLE.read_text(encoding="utf-8") == written


def test_tests_of_a_clone_are_counted_apart():
    names = [("m_test.A", f"test_{name}") for name in "abcd"]
    with_fork = dict(zip(names, ("pass", "FAIL", "FAIL", "skipped")))
    without = dict(zip(names, ("pass", "FAIL", "pass", "skipped")))
    row = other_bases.row_of_clone("3.16.0", "jax", (with_fork, without))
    counts = ("1", "1", "1", "1", "`A::test_c`")
    assert row == ("3.16.0", "jax", "upstream", *counts)
