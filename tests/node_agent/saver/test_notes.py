"""What a save says of itself."""

from node_agent.saver.notes import LARGE_BYTES, Notes

MIB = 1 << 20


def test_a_large_save_names_its_large_files_largest_first() -> None:
    notes = Notes()
    for path, mib in ((b"project/a", 30), (b"root/.cache/b", 200), (b"c", 40), (b"d", 35)):
        notes.took(path, mib * MIB)
    notes.took(b"small", 6 * MIB)
    (said,) = notes.large(330 * MIB)
    assert said.startswith(
        "Large: it took 330 MiB, of these "
        "/root/.cache/b (200 MiB), /c (40 MiB), /d (35 MiB) and 1 more. "
    )
    assert "devbox.yaml" in said
    assert notes.large(LARGE_BYTES - 1) == ()


def test_many_small_files_are_told_as_such_and_kept_within_bounds() -> None:
    notes = Notes()
    for number in range(10_000):
        notes.took(b"%d" % number, 5 * MIB + number)
    (said,) = notes.large(10_000 * 5 * MIB)
    assert said.startswith("Large: it took 50000 MiB of small files. ")
    assert len(notes._large) <= 64
    assert b"9999" in notes._large


def test_a_file_that_was_copied_again_counts_once() -> None:
    notes, later = Notes(), Notes()
    notes.took(b"log", 100 * MIB)
    later.took(b"log", 300 * MIB)
    notes.add(later)
    assert "/log (300 MiB). " in notes.large(400 * MIB)[0]
