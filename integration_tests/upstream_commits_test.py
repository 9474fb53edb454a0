"""What is counted of a fix for upstream, and how the table is kept."""

import re

from integration_tests.support import upstream_commits
from patching import statements
from patching import upstream_branch

SUMS = "def total(values):\n    return sum(values)\n"
SUMS_TEST = "class SumsTest:\n    def test_old(self):\n        pass\n"
DIGITS = statements.digits_of("return sum(values)\n")
EDIT = f"""# in total, replaces {DIGITS}: a test.
def _(values):
    result = sum(values)
    return float(result)
"""
TEST_EDIT = """class SumsTest:
    # adds: a test.
    def test_new(self):
        pass
"""


def put(folder, files):
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source)


def test_a_part_on_a_base_without_tests(tmp_path):
    """What upstream's tests are, is where the wheel has none."""
    files = {"keras/sums.a.edits.py": EDIT, "keras/sums_test.a.edits.py": ""}
    put(tmp_path / "fixes", {**files, "keras/sums_test.a.edits.py": TEST_EDIT})
    put(tmp_path / "wheel", {"keras/sums.py": SUMS})
    put(tmp_path / "clone", {"keras/sums_test.py": SUMS_TEST})
    part = upstream_branch.Part(
        "a",
        re.match("", ""),
        upstream_branch._files_of(tmp_path / "fixes", ".a.edits.py"),
        {},
        {},
        "",
    )
    base = upstream_commits.Base("9", tmp_path / "wheel", tmp_path / "clone")
    changes, problems = upstream_commits.applied(
        base, [part], tmp_path / "ours"
    )
    assert not problems
    assert upstream_commits.size(changes["a"], False) == "+2 -1"
    # With the blank line above it.
    assert upstream_commits.size(changes["a"], True) == "+3 -0"
    assert upstream_commits.tests_of(changes["a"]) == {
        "keras/sums_test.py": {"SumsTest.test_new"}
    }
    for name, only_tests, expected in (
        ("ours", False, True),
        ("stock", True, False),
    ):
        if only_tests:
            upstream_commits.applied(base, [part], tmp_path / name, True)
        source = (tmp_path / name / "keras/sums.py").read_text()
        assert ("float" in source) == expected
        assert "new" in (tmp_path / name / "keras/sums_test.py").read_text()
    put(tmp_path / "wheel", {"keras/sums.py": SUMS.replace("sum(", "max(")})
    changes, problems = upstream_commits.applied(
        base, [part], tmp_path / "other"
    )
    assert changes == {} and len(problems) == 1


def test_tests_of_a_part():
    wanted = {
        "keras/sums_test.py": {"SumsTest.test_new"},
        "keras/means_test.py": {"test_mean"},
    }
    results = {
        ("keras.sums_test.SumsTest", "test_new"): "pass",
        ("keras.sums_test.SumsTest", "test_new_list"): "FAIL",
        ("keras.sums_test.SumsTest", "test_newer"): "pass",
        ("keras.sums_test.OtherTest", "test_new"): "pass",
        ("keras.means_test", "test_mean[1]"): "skipped",
    }
    found = upstream_commits.of_part(wanted, results)
    assert found == ["pass", "FAIL", "skipped"]


def test_cell():
    cell = upstream_commits.cell
    assert cell(["pass", "pass"], ["FAIL", "pass"]) == "2 pass, 1 without"
    assert cell(["FAIL", "pass"], ["FAIL"]) == "1 pass, 1 FAIL, 1 without"
    assert cell(["skipped"], ["skipped"]) == "1 skipped"
    assert cell([], []) == "NONE RUN"


def test_table(tmp_path, monkeypatch):
    table = tmp_path / "table.md"
    monkeypatch.setattr(upstream_commits, "TABLE", table)

    def rows():
        lines = table.read_text().splitlines()
        cells = [[x.strip() for x in line.split("|")[1:-1]] for line in lines]
        return [row for row in cells if row and row[0] in ("a", "b")]

    one = ["a", "v9", "+1 -1", "+3 -0", "passes", "1 pass", "", "", ""]
    two = ["b", "v9", *one[2:]]
    head = ["a", "master", *one[2:]]
    upstream_commits.write([two, one, head], ["a", "b"])
    assert rows() == [one, head, two]
    # On another backend, with another size.
    upstream_commits.write(
        [["a", "v9", "+2 -1", *one[3:5], "", "2 pass", "", ""]], ["a", "b"]
    )
    new = ["a", "v9", "+2 -1", *one[3:6], "2 pass", "", ""]
    assert rows() == [new, head, two]
    # A part that is no more.
    upstream_commits.write([], ["b"])
    assert rows() == [two]
    suite = ["v9", "jax", "5", "1", "1", "none"]
    upstream_commits.write([suite], ["b"], upstream_commits.SUITE_COLUMNS)
    upstream_commits.write([one], ["a", "b"])
    assert rows() == [one, two]
    assert f"| {' | '.join(suite)} |" in table.read_text()


def test_api_files_have_a_table_of_their_own(tmp_path, monkeypatch):
    table = tmp_path / "table.md"
    monkeypatch.setattr(upstream_commits, "TABLE", table)
    columns = upstream_commits.API_COLUMNS
    upstream_commits.write([["v9", "`a.py` DIFFERS"]], [], columns)
    upstream_commits.write([["master", "the same 9"]], [], columns)
    upstream_commits.write([["v9", "the same 8"]], [], columns)
    lines = table.read_text().splitlines()
    assert "| v9 | the same 8 |" in lines
    assert "| master | the same 9 |" in lines
    assert not any("DIFFERS" in line for line in lines)
