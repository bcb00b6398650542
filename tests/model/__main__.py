"""``python -m tests.model``: explore everything, print what was explored, and take the protections out one by one."""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Iterator
from enum import StrEnum

from . import forgetting
from .mutations import BREAKS, REDUNDANT, Mutation
from .search import Report, TooLarge, check, check_forgetting, check_sharing
from .sharing import BREAKS as BREAKS_SHARING


def main() -> int:
    """0 if every promise holds and every mutation is noticed as the table says."""
    options = _options()
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"This machine: {os.cpu_count()} cores (one is used), {gib:.0f} GiB memory.\n")
    try:
        fine = [*_protocol(options), *_sharing(options), *_forgetting(options)]
        if not options.protocol_only:
            fine += [*_mutations(), *_mutations_of_sharing(), *_mutations_of_forgetting()]
    except TooLarge as error:
        print(f"{error}: choose narrower bounds, or raise --most")
        return 2
    print(f"\nMost memory used: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    return 0 if all(fine) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--attempts", type=int, default=4, help="attempts where faults have no number (default 4)")
    parser.add_argument("--counted-attempts", type=int, default=2, help="attempts where faults are counted (default 2)")
    parser.add_argument("--faults", type=int, default=3, help="faults where they are counted (default 3)")
    parser.add_argument("--shared-attempts", type=int, default=3, help="attempts of each of two that share (default 3)")
    parser.add_argument("--most", type=int, default=5_000_000, help="states before the search gives up")
    parser.add_argument("--protocol-only", action="store_true", help="leave the mutations out")
    return parser.parse_args()


def _protocol(options: argparse.Namespace) -> Iterator[bool]:
    bounds = ((options.attempts, None), (options.counted_attempts, options.faults))
    for attempts, faults in bounds:
        print(f"{attempts} attempts, {'any number of' if faults is None else faults} faults:", flush=True)
        yield _holds(check(attempts, faults, most=options.most))


def _sharing(options: argparse.Namespace) -> Iterator[bool]:
    for holds in (False, True):
        first = ", the first branch a hold" if holds else ""
        words = f"Two transactions that may share {options.shared_attempts} attempts{first}, any number of faults:"
        print(words, flush=True)
        yield _holds(check_sharing(options.shared_attempts, holds=holds, most=options.most))


def _forgetting(options: argparse.Namespace) -> Iterator[bool]:
    print("One transaction, and a database that comes back older once, any number of faults:", flush=True)
    yield _holds(check_forgetting(most=options.most))


def _holds(report: Report) -> bool:
    print(f"  {_size(report)}")
    if report.broken:
        print(f"  BROKEN: {report.broken}", *report.trace, sep="\n    ")
    else:
        print("  every promise holds, and from every state a settled one can be reached")
    return report.broken is None


def _mutations() -> Iterator[bool]:
    print("\nWith one protection taken out:")
    for mutation in Mutation:
        print(f"  {mutation}")
        for which in BREAKS.get(mutation, ()):
            yield _is_noticed(check(2, None, mutation, only=frozenset({which})), which)
        if mutation in REDUNDANT:
            report = check(2, None, mutation)
            print(f"    breaks {report.broken or 'nothing here'}: {REDUNDANT[mutation]}")
            yield report.broken is None


def _mutations_of_sharing() -> Iterator[bool]:
    print("\nOf two that may share attempts, with one protection taken out:")
    for mutation, promises in BREAKS_SHARING.items():
        print(f"  {mutation}")
        for which in promises:
            yield _is_noticed(check_sharing(2, mutation, only=frozenset({which})), which)


def _mutations_of_forgetting() -> Iterator[bool]:
    print("\nOf databases that forget, with one rule taken out:")
    for mutation in forgetting.Mutation:
        print(f"  {mutation}")
        for which in forgetting.BREAKS.get(mutation, ()):
            yield _is_noticed(check_forgetting(mutation, only=frozenset({which})), which)
        if mutation in forgetting.REDUNDANT:
            report = check_forgetting(mutation)
            print(f"    breaks {report.broken or 'nothing here'}: {forgetting.REDUNDANT[mutation]}")
            yield report.broken is None


def _is_noticed(report: Report, which: StrEnum) -> bool:
    print(f"    {f'breaks after {len(report.trace)} steps' if report.broken else 'NOT NOTICED'}: {which}", flush=True)
    return report.broken is which


def _size(report: Report) -> str:
    calm = f" (and {report.calm_states:,} for liveness)" if report.calm_states else ""
    return (
        f"{report.states:,} states{calm}, {report.transitions:,} transitions, depth {report.depth}, "
        f"{report.seconds:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
