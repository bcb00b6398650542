"""A participant's outcome worker is away for an hour while it owes answers: what waits for it, and when all is settled.

python -m benchmarks.absence --minutes 60 --owed 100
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2
from redis import Redis

from embedded.driver import Driver
from embedded.shop import Shop

_AWAY = "products-outcome-worker"
_SETTLES_WITHIN = 600.0
_LOOK_EVERY = 60.0


def main() -> None:
    """Run it, and print how many messages wait, minute by minute."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.absence", description=description)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--owed", type=int, default=100)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="absence-"))
    with Shop(folder, flower=False) as shop:
        _run(shop, arguments.owed, 60 * arguments.minutes)
    shutil.rmtree(folder)


def _run(shop: Shop, owed: int, seconds: float) -> None:
    driver = Driver(shop.url)
    user, things = driver.add_user(), [driver.add_product(stock=1) for _ in range(owed)]
    shop.hold_down(_AWAY)
    for thing in things:  # one by one, so that no two share an attempt
        driver.placed_order(user, {thing: 1})
    print(f"{_unsettled(shop)} of {owed} are owed", flush=True)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        print(f"{(seconds - left) / 60:6.1f} min  {_waiting(shop)} messages wait", flush=True)
        time.sleep(min(left, _LOOK_EVERY))
    print(f"{seconds / 60:6.1f} min  {_waiting(shop)} messages wait", flush=True)
    shop.bring_up(_AWAY)
    back = time.monotonic()
    while _unsettled(shop):
        if time.monotonic() > back + _SETTLES_WITHIN:
            raise SystemExit(f"{_unsettled(shop)} are not settled {_SETTLES_WITHIN:g} s after the return")
        time.sleep(0.05)
    print(f"all settled {time.monotonic() - back:.1f} s after it was back, {_waiting(shop)} messages wait")


def _waiting(shop: Shop) -> int:
    with Redis.from_url(shop.broker_url) as redis:
        lists: Any = [key for key in redis.scan_iter(count=1000) if redis.type(key) == b"list"]
        return sum(int(str(redis.llen(key))) for key in lists)


def _unsettled(shop: Shop) -> int:
    with contextlib.closing(psycopg2.connect(shop.admin_url("orders"))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM transactions WHERE settled_at IS NULL AND state = 'committed'")
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
