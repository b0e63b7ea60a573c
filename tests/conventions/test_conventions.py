"""Each rule of `docs/design.md` holds, and each check can fail."""

from __future__ import annotations

import pytest
from conventions import docstrings, experiment_files, imports, modules, rooms, signatures, suite, tolerances, vocabulary
from conventions.sources import ROOT, Rule, Source, snippet, sources

PARTS = [modules, signatures, docstrings, vocabulary, imports, rooms, suite, tolerances, experiment_files]
RULES: list[Rule] = [rule for part in PARTS for rule in part.RULES]
BAD = [(rule, text) for rule in RULES for text in rule.bad]
GOOD = [(rule, text) for rule in RULES for text in rule.good]


def names(cases: list) -> list[str]:
    return [case.name if isinstance(case, Rule) else case[0].name for case in cases]


@pytest.mark.parametrize("rule", RULES, ids=names(RULES))
def test_the_repository_keeps_the_rule(rule):
    found = [message for source in sources(rule.where) for message in rule.check(source)]
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize(("rule", "text"), BAD, ids=names(BAD))
def test_the_check_refuses(rule, text):
    assert rule.check(snippet(text)) != []


@pytest.mark.parametrize(("rule", "text"), GOOD, ids=names(GOOD))
def test_the_check_accepts(rule, text):
    assert rule.check(snippet(text)) == []


def test_every_rule_looks_at_files_and_has_both_cases():
    lacking = [r.name for r in RULES if not (sources(r.where) and r.bad and r.good)]
    assert lacking == []


def test_a_method_with_a_reduction_test_is_accepted():
    method = Source("vifx/games/gan.py", "def gan() -> Assembly: ...")
    test = Source("tests/games/test_gan.py", "def test_reduces_to_the_labelled_kl(): ...")
    assert experiment_files.reduction_tested(method, {"gan.py": test}) == []
    assert experiment_files.reduction_tested(method, {}) != []


def test_the_pages_compare_relative_to_the_size_of_what_they_show():
    paths = (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    pages = [Source(path.name, path.read_text(encoding="utf-8")) for path in paths]
    assert [message for page in pages for message in tolerances.page_tolerances_are_relative(page)] == []
    wrong = "Losses:\n```python\nloss = 262.1\n```\nagree:\n```python\nassert abs(loss - other) < 1e-5\n```\n"
    assert tolerances.page_tolerances_are_relative(Source("em.md", wrong)) != []
    assert tolerances.page_tolerances_are_relative(Source("em.md", wrong.replace("< 1e-5", "< 1e-5 * loss"))) == []


def test_the_vocabulary_is_read_from_the_notation_page():
    table = vocabulary.forbidden()
    assert table["discriminator"] == "critic"
    assert table["logdet"] == "log_det"
    assert len(table) > 20


def test_the_equations_are_numbered_from_one_to_ten():
    assert docstrings.equations() == set(range(1, 11))


def test_gates_name_files_that_exist():
    rooms = (*modules.HOST_ROOMS, *modules.DEVICE_ROOMS)
    assert [room for room in rooms if not (ROOT / room).exists()] == []


def test_no_file_name_stands_in_two_rooms_for_different_things():
    assert rooms.clashes(rooms.all_files()) == []
    assert rooms.clashes(["vifx/data/table.py", "vifx/evaluation/table.py"]) == ["table.py: data, evaluation"]
    assert rooms.clashes(["vifx/distributions/poisson.py", "vifx/em/families/poisson.py"]) == []


def test_the_page_shows_who_knows_whom():
    assert rooms.picture_is_drawn() == []
    assert "variational → verification" in rooms.picture()
