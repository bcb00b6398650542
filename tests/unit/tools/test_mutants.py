"""The mutants fit the code: what each of them takes out stands there, once, and so does the test that must miss it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant
from tests.mutants.table import MUTANTS

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.protection)
def test_what_a_mutant_takes_out_stands_exactly_once_and_its_test_is_there(mutant: Mutant) -> None:
    assert mutant.trouble(ROOT) is None
    assert mutant.old != mutant.new


def test_each_protection_has_a_name_of_its_own() -> None:
    assert [name for name, times in Counter(m.protection for m in MUTANTS).items() if times > 1] == []


def test_a_mutant_that_does_not_fit_the_code_any_more_is_told_from_one_that_does() -> None:
    mutant = MUTANTS[0]
    assert "stand 0 times" in (replace(mutant, old="no such line").trouble(ROOT) or "")
    assert "no test" in (replace(mutant, test="eager/test_circuit_breaker.py::test_x").trouble(ROOT) or "")
    assert "no test" in (replace(mutant, test=mutant.test + "_x").trouble(ROOT) or "")
