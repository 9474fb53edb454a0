"""Which of upstream's tests a commit is put to, and how the table is kept."""

from integration_tests.support import upstream_commits

OLD = ("10. Tenth", "jax", "`keras.src.trainers`", "7", "0", "2")
NEW = ("2. Second", "jax", "`keras.src.trainers`", "5", "1", "0")
OTHER = ("2. Second", "torch", "`keras.src.trainers`", "4", "0", "0")


def test_packages():
    files = [
        "keras/src/losses/loss.py",
        "keras/src/backend/tensorflow/trainer.py",
        "integration_tests/labels_test.py",
    ]
    assert upstream_commits.packages_of(files) == (
        "keras.src.trainers",
        "keras.src.losses",
        "keras.src.backend.tensorflow",
    )
    # Whatever a commit touches, training goes through it.
    assert upstream_commits.packages_of([]) == ("keras.src.trainers",)


def test_table(tmp_path, monkeypatch):
    table = tmp_path / "table.md"
    monkeypatch.setattr(upstream_commits, "TABLE", table)

    def rows():
        lines = table.read_text().splitlines()
        cells = [[x.strip() for x in line.split("|")[1:-1]] for line in lines]
        return [tuple(row) for row in cells if row and row[0][0].isdigit()]

    parts = [NEW[0], OLD[0]]
    upstream_commits.write([OLD, OTHER], parts)
    upstream_commits.write([NEW], parts)
    # By number, not by letter.
    assert rows() == [NEW, OTHER, OLD]
    newer = (*NEW[:3], "6", "0", "0")
    upstream_commits.write([newer], parts)
    assert rows() == [newer, OTHER, OLD]
    # A part was put in before the tenth.
    upstream_commits.write([], [NEW[0], "11. Tenth"])
    assert rows() == [newer, OTHER]
